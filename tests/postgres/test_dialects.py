"""Versions describe one object each in its own way; what they share is compared."""

import pytest

from lib.postgres.dialects import common

RANGE = (
    "CREATE TYPE s.r AS RANGE (\n    subtype = date,\n    multirange_type_name = s.m,\n"
    "    subtype_diff = s.d\n);"
)


@pytest.mark.parametrize(
    "title, old, new, oldest",
    [
        (
            "view v",
            "SELECT t.a, t.b FROM (s.t JOIN s.u USING (a));",
            "SELECT a, b FROM (t JOIN u USING (a));",
            17,
        ),
        ("type s.r", RANGE.replace("    multirange_type_name = s.m,\n", ""), RANGE, 13),
        (
            "procedure s.p(integer)",
            "CREATE PROCEDURE s.p(integer, text)",
            "CREATE PROCEDURE s.p(IN integer, IN text)",
            13,
        ),
        ("schema public", "-- *not* creating\n\n\nALTER SCHEMA public OWNER TO me;", "", 14),
        (
            "acl TABLE t",
            "REVOKE SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON TABLE t FROM me;",
            "GRANT MAINTAIN ON TABLE t TO me;\nREVOKE ALL ON TABLE t FROM me;",
            16,
        ),
    ],
)
def test_both_versions_say_the_same(title: str, old: str, new: str, oldest: int) -> None:
    assert old != new
    assert common(title, old, oldest) == common(title, new, oldest)


def test_what_differs_is_still_seen() -> None:
    one, other = "GRANT SELECT ON TABLE t TO me;", "GRANT SELECT,MAINTAIN ON TABLE t TO me;"
    assert common("acl TABLE t", one, 17) != common("acl TABLE t", other, 17)
    assert common("type s.r", RANGE, 14) == RANGE
    assert common("view v", "SELECT t.a", 12) != common("view v", "SELECT t.b", 12)
