"""A small migration that names the moments it comes to, and is killed at the one it was told of.

``MOMENT`` names the moment; ``moments.txt`` and ``made.txt`` tell what was reached and made.
"""

import json
import os
import signal
from dataclasses import dataclass

import pytest
from sqlalchemy import event

from lib.engine.step import Step
from lib.engine.store import Store

pytest_plugins = ["lib.plugin.plugin"]


@dataclass(frozen=True)
class Settings:
    """What the steps read."""

    text: str = "what is wanted"
    memory_gb: int = 1


def pytest_migration_settings(config, environment):
    return Settings()


def reached(moment: str) -> None:
    """Note a moment; go no further if it is the one."""
    moment = moment.replace(os.environ["PROJECT"], "PROJECT")
    with open("moments.txt", "a") as log:
        log.write(f"{moment}\n")
    if os.environ.get("MOMENT") == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def made(thing: str) -> None:
    """Note that something came to be."""
    with open("made.txt", "a") as log:
        log.write(f"{thing}\n")


# -- the boundaries --------------------------------------------------------------------------------

_intend, _make, _finish = Store.intend, Step.make, Store.finish


def intend(store, step, run, attempt, started_at, change):
    reached(f"{step}: before the intent of {change.subject}")
    number = _intend(store, step, run, attempt, started_at, change)
    reached(f"{step}: after the intent of {change.subject}")
    return number


def make(step, action, **more):
    apply = action.apply

    def applied(change, journal):
        apply(change, journal)
        reached(f"{step.name}: after applying {change.subject}")

    action.apply = applied
    return _make(step, action, **more)


def finish(store, checkpoint, **more):
    def before(connection):
        reached(f"{checkpoint.step}: before the checkpoint's commit")

    event.listen(store._engine, "commit", before)
    _finish(store, checkpoint, **more)
    event.remove(store._engine, "commit", before)
    reached(f"{checkpoint.step}: after the checkpoint's commit")


Store.intend, Step.make, Store.finish = intend, make, finish


# -- the world -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def project():
    """The project that this run makes."""
    from lib.settings import ProjectSettings

    apis = ("redis", "secretmanager", "compute")
    services = tuple(f"{api}.googleapis.com" for api in apis)
    return ProjectSettings(id=os.environ["PROJECT"], services=services)


@pytest.fixture(scope="session")
def cloud(project):
    """An embedded cloud, through a channel that tells of every call that changes something."""
    import grpc

    from lib.cloud.cloud import Cloud
    from lib.cloud.target import Target

    class Calls(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            method = str(details.method).rpartition("/")[2]
            if method.startswith(("Get", "List", "Search", "Test", "BatchGet", "Wait")):
                return continuation(details, request)
            reached(f"during: {method} is sent")
            answer = continuation(details, request)
            if answer.exception() is None:
                made(method)
            reached(f"during: {method} was answered")
            return answer

    about = json.loads(os.environ["CLOUD"])
    cloud = Cloud(Target.embedded(project=project.id, **about))
    channel = cloud.clients._channel()
    cloud.clients._shared_channel = grpc.intercept_channel(channel, Calls())
    yield cloud
    channel.close()


class TextFile:
    """A file with a text, written in two halves so that it can be torn."""

    def __init__(self, name, text):
        self.name, self.text, self.subject = name, text, f"file {name}"

    def observe(self):
        if not os.path.exists(self.name):
            return None
        with open(self.name) as file:
            return file.read()

    def plan(self, observed):
        from lib.engine.changes import Change, ChangeKind, FieldChange

        if observed == self.text:
            return Change(ChangeKind.NONE, self.subject)
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        fields = (FieldChange("text", observed, self.text),)
        return Change(ChangeKind.UPDATE, self.subject, fields)

    def apply(self, change, journal):
        there = os.path.exists(self.name)
        with open(self.name, "w") as file:
            file.write(self.text[:5])
            file.flush()
            if not there:
                made(self.subject)
            reached(f"during: {self.subject} is half written")
            file.write(self.text[5:])

    def verify(self):
        assert self.observe() == self.text
        return self.text

    def undo(self, change, journal):
        if change.fields:
            with open(self.name, "w") as file:
                file.write(change.fields[0].old)
        elif os.path.exists(self.name):
            os.unlink(self.name)


@pytest.fixture
def text_file():
    """The action that makes a file."""
    return TextFile
