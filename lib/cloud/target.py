"""What a run works against: Google, or an embedded cloud that speaks the same APIs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lib.cloud.errors import CredentialsMissing


@dataclass(frozen=True, slots=True)
class Polling:
    """How operations are waited for, all in seconds.

    The pause grows from ``initial`` to ``maximum``; ``deadline`` ends the wait, ``call`` one call,
    and ``patience`` the time for which an unreachable server is asked again.
    """

    initial: float
    maximum: float
    deadline: float
    call: float
    patience: float


PATIENT = Polling(initial=2.0, maximum=20.0, deadline=5400.0, call=60.0, patience=300.0)
"""For Google: clusters take tens of minutes."""

BRISK = Polling(initial=0.02, maximum=0.25, deadline=300.0, call=30.0, patience=20.0)
"""For the embedded cloud: everything is on this machine."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target; ``endpoint``, ``ca`` (path of a PEM file) and ``token`` only for the embedded.

    ``rest`` is where the embedded one serves JSON, which we need for the APIs without gRPC.
    """

    kind: Literal["google", "embedded"]
    endpoint: str = ""
    ca: str = ""
    token: str = field(default="", repr=False)
    project: str = ""
    region: str = "us-central1"
    zone: str = "us-central1-a"
    polling: Polling = PATIENT
    rest: str = ""

    def authority(self) -> bytes:
        """The embedded cloud's certificate; raises ``CredentialsMissing`` where it is not there."""
        try:
            return Path(self.ca).read_bytes()
        except OSError as error:
            raise CredentialsMissing(
                f"The embedded cloud's certificate {self.ca} can't be read.",
                expected="the file that the embedded cloud made when it started",
                remedy="run: python -m lib.localcloud start",
            ) from error

    @classmethod
    def google(
        cls, project: str = "", region: str = "us-central1", zone: str = "us-central1-a"
    ) -> "Target":
        """Google, with Application Default Credentials; ``project`` pays for the calls' quota."""
        return cls("google", project=project, region=region, zone=zone)

    @classmethod
    def embedded(
        cls,
        endpoint: str,
        ca: str,
        token: str,
        project: str = "",
        region: str = "us-central1",
        zone: str = "us-central1-a",
        rest: str = "",
    ) -> "Target":
        """The embedded cloud that ``python -m lib.localcloud start --json`` described.

        ``rest`` is the port after that of ``endpoint`` where it is not given.
        """
        host, _, port = endpoint.rpartition(":")
        rest = rest or (f"{host}:{int(port) + 1}" if port.isdigit() else "")
        return cls("embedded", endpoint, ca, token, project, region, zone, BRISK, rest)
