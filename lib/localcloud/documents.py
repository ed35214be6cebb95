"""Resources that are kept as JSON documents: those of the REST services."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from lib.localcloud import errors
from lib.localcloud.names import parent_of
from lib.localcloud.service import Service

Document = dict[str, Any]


class Documents:
    """One kind of a REST service, by full name; enough of a ``Kind`` to be listed by status."""

    backed: ClassVar[bool] = False

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = name
        self._store = service.core.store

    def find(self, name: str) -> Document | None:
        """The document of that full name, or None."""
        row = self._store.get(self.service.name, name)
        return dict(json.loads(row.body)) if row else None

    def require(self, name: str) -> Document:
        """The document of that full name; NOT_FOUND if there is none."""
        found = self.find(name)
        if found is None:
            raise errors.not_found(name, self.name)
        return found

    def save(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a document, new or not."""
        body = json.dumps(document).encode()
        self._store.put(self.service.name, name, self.name, parent_of(name), body)

    def delete(self, name: str) -> None:
        """Remove a document."""
        self._store.delete(self.service.name, name)

    def everything(self) -> list[tuple[str, Document]]:
        """Every document with its full name."""
        rows = self._store.children(self.service.name, self.name, None)
        return [(row.name, json.loads(row.body)) for row in rows]

    def below(self, project: str) -> list[tuple[str, Document]]:
        """The documents of one project."""
        return [each for each in self.everything() if each[0].startswith(f"projects/{project}/")]

    def state_name(self, document: Document) -> str:
        """The state as people read it."""
        return str(document.get("status", ""))

    def where(self, document: Document) -> str:
        """The range or address, for people."""
        return str(document.get("ipCidrRange") or document.get("address") or "")
