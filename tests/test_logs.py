"""The log: secrets never reach it."""

import io
import logging

import pytest

from lib.logs import LOGGER, MASK, MASKING, Masking, open_log


@pytest.mark.parametrize(
    "text",
    [
        "connecting to postgresql://me:s3cr3t-word@host/db",
        "password=s3cr3t-word host=x",
        'api_token="s3cr3t-word"',
        "{'password': 's3cr3t-word'}",
        "authorization=Bearer s3cr3t-word",
        "Authorization: Bearer s3cr3t-word",
        "connecting to postgresql://me:p@ss@s3cr3t-word@host/db",
        '{"password": "two words and s3cr3t-word"}',
        "PGPASSWORD='it is \"s3cr3t-word\"' psql",
    ],
)
def test_what_looks_like_a_secret_is_masked(text):
    assert "s3cr3t-word" not in MASKING.mask(text)
    assert MASK in MASKING.mask(text)


@pytest.mark.parametrize(
    "text",
    ["secret agent-storage-password: not found", "postgresql://me@host:5432/db", "a token bucket"],
)
def test_what_only_speaks_of_secrets_is_left_alone(text):
    assert MASKING.mask(text) == text


def test_a_secret_that_contains_another_is_masked_whole():
    masking = Masking()
    masking.learn("abcd")
    masking.learn("abcdefgh")
    assert masking.mask("it is abcdefgh") == f"it is {MASK}"


def test_a_learnt_secret_is_masked_in_messages_arguments_and_tracebacks(tmp_path):
    MASKING.learn("opensesame")
    others = list(LOGGER.handlers)  # a pytest that ran inside another may have left its own
    lines: list[str] = []
    close = open_log(tmp_path / "run.log", lines.append, debug=False)
    try:
        LOGGER.info("with %s", "opensesame")
        try:
            raise ValueError("opensesame")
        except ValueError:
            LOGGER.exception("it broke")
        LOGGER.debug("not at this level")
    finally:
        close()
    written = (tmp_path / "run.log").read_text() + "\n".join(lines)
    assert "opensesame" not in written
    assert written.count(MASK) >= 4
    assert "not at this level" not in written
    assert "level=ERROR" in written
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2, "one line an event"
    assert LOGGER.handlers == others


def test_a_traceback_that_another_handler_formatted_before_is_masked_too(tmp_path):
    MASKING.learn("opensesame")
    other = logging.StreamHandler(io.StringIO())
    LOGGER.addHandler(other)
    close = open_log(tmp_path / "run.log", None, debug=False)
    try:
        try:
            raise ValueError("opensesame")
        except ValueError:
            LOGGER.exception("it broke")
    finally:
        close()
        LOGGER.removeHandler(other)
    assert "opensesame" not in (tmp_path / "run.log").read_text()
