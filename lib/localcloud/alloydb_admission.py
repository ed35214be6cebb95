"""Who may pass an instance's proxy, by token, certificate and policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lib.localcloud.errors import RpcError
from lib.localcloud.faults import Faults
from lib.localcloud.iam import Identities, Policies
from lib.localcloud.names import parent_of
from lib.localcloud.rehearsal import Rehearsal
from lib.localcloud.store import Store

SERVICE: Final = "google.cloud.alloydb.v1.AlloyDBAdmin"
LOGINS: Final = "alloydb-login"
IAM: Final = "alloydb-iam"
_PRINCIPAL: Final = "https://embedded-cloud.localhost/principal/"
_EXCHANGE: Final = "https://embedded-cloud.localhost/metadata-exchange"


class Refused(Exception):
    """A client is not let in; ``state`` is the SQLSTATE that it sees."""

    def __init__(self, text: str, state: str = "28000") -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client certificate tells: whose it is, and whether a metadata exchange follows."""

    principal: str
    exchanges: bool

    @property
    def uris(self) -> list[str]:
        """As the certificate carries it."""
        return [_PRINCIPAL + self.principal, *([_EXCHANGE] if self.exchanges else [])]

    @classmethod
    def of(cls, certificate: Mapping[str, Any] | None) -> "Identity":
        """Read from a certificate as the ``ssl`` module tells it."""
        names = (certificate or {}).get("subjectAltName", ())
        uris = [value for kind, value in names if kind == "URI"]
        owners = [each.removeprefix(_PRINCIPAL) for each in uris if each.startswith(_PRINCIPAL)]
        return cls(owners[0] if owners else "", _EXCHANGE in uris)


class Admission:
    """The rules of one instance, read from the embedded cloud's state for each client anew."""

    def __init__(self, state: Path, instance: str) -> None:
        self._store = Store(state / "state.db")
        self._identities = Identities(self._store)
        self._policies = Policies(self._store, Faults(Rehearsal(state)))
        self._instance = instance
        self._cluster = parent_of(instance)

    def principal(self, token: str) -> str:
        """Whose the OAuth token is; raises ``Refused``."""
        try:
            return self._identities.principal(f"Bearer {token}")
        except RpcError as error:
            raise Refused(f"the OAuth token is not valid: {error.message}") from error

    def require_connect(self, principal: str) -> None:
        """Raise ``Refused`` unless the principal may connect to the instance."""
        self._require(principal, "alloydb.instances.connect", self._instance)

    def require_iam(self) -> None:
        """Raise ``Refused`` unless the instance takes IAM logins."""
        if self._store.fact(IAM, self._instance) is None:
            raise Refused(
                "IAM database authentication is off: set the database flag "
                "alloydb.iam_authentication of the instance to on"
            )

    def login(self, user: str) -> str | None:
        """The inner password of an IAM user; None for other users."""
        known = self._store.fact(LOGINS, f"{self._cluster}/users/{user}")
        return known.decode() if known is not None else None

    def require_login(self, token: str, user: str) -> None:
        """Raise ``Refused`` unless the token's principal may log in as ``user``."""
        self.require_iam()
        principal = self.principal(token)
        if database_user(principal) != user:
            raise Refused(f'the token is not one of IAM user "{user}"', "28P01")
        self._require(principal, "alloydb.users.login", f"{self._cluster}/users/{user}")

    def _require(self, principal: str, permission: str, resource: str) -> None:
        try:
            self._policies.require(principal, permission, SERVICE, resource)
        except RpcError as error:
            raise Refused(error.message, "42501") from error


def database_user(principal: str) -> str:
    """The database user that stands for a principal, as ``user:NAME@DOMAIN``."""
    return principal.partition(":")[2].lower().removesuffix(".gserviceaccount.com")
