"""What pg_dump writes differently of one and the same object, by the version of the server."""

import re

_QUALIFIER = re.compile(r'(?:"(?:[^"]|"")+"|\b[^\W\d]\w*)\.(?=["\w])')
_MULTIRANGE = re.compile(r",\n    multirange_type_name = .+?(?=,\n|\n\))")
_PUBLIC_OWNER = re.compile(r"^(-- .*|ALTER SCHEMA public OWNER TO .*;|\n)$", re.MULTILINE)
_EVERY_RIGHT = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
_RIGHTS = re.compile(r"^(?P<verb>GRANT|REVOKE) (?P<rights>[A-Z,]+) (?P<where>ON TABLE .*)$")

FIRST_WITH_MULTIRANGES = 14
FIRST_WITH_IN = 14
FIRST_WITH_DATABASE_OWNER = 15
FIRST_WITH_MAINTAIN = 17


def common(title: str, text: str, oldest: int) -> str:
    """The text as every server from version ``oldest`` on would have it; empty: it has nothing."""
    kind = title.partition(" ")[0]
    if "view " in title:
        return _QUALIFIER.sub("", text)
    if kind == "type" and oldest < FIRST_WITH_MULTIRANGES:
        return _MULTIRANGE.sub("", text)
    if kind == "procedure" and oldest < FIRST_WITH_IN:
        return text.replace("(IN ", "(").replace(", IN ", ", ")
    if title == "schema public" and oldest < FIRST_WITH_DATABASE_OWNER:
        return _PUBLIC_OWNER.sub("", text).strip()
    if kind in ("acl", "default") and oldest < FIRST_WITH_MAINTAIN:
        lines = (_rights(line) for line in text.splitlines())
        return "\n".join(sorted(line for line in lines if line))
    return text


def _rights(line: str) -> str:
    """A grant without the right to MAINTAIN; all rights but that one are all of them."""
    found = _RIGHTS.match(line)
    if found is None:
        return line
    rights = [each for each in found["rights"].split(",") if each != "MAINTAIN"]
    if _EVERY_RIGHT.issubset(rights):
        rights = ["ALL"]
    return f"{found['verb']} {','.join(rights)} {found['where']}" if rights else ""
