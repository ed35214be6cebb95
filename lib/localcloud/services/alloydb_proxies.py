"""The proxies of AlloyDB instances, and the authority of each cluster that signs for them."""

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lib.localcloud import certificates, errors
from lib.localcloud.alloydb_admission import Identity
from lib.localcloud.core import Core
from lib.localcloud.process import LocalProcess

PORT: Final = 5433
SHORTEST, LONGEST = 3600, 24 * 3600


@dataclass(frozen=True, slots=True)
class Authority:
    """A cluster's own certificate authority, by the cluster's uid."""

    state: Path
    uid: str

    @property
    def folder(self) -> Path:
        """Where its key is."""
        return self.state / "alloydb" / f"{self.uid}.authority"

    def pair(self) -> certificates.Pair:
        """Certificate and key, made when first asked for."""
        return certificates.authority(
            self.folder, "Embedded AlloyDB cluster authority", certificates.LONG
        )

    def discard(self) -> None:
        """Remove it; what it has signed is worth nothing then."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def certify(self, public_key: str, identity: Identity, seconds: int) -> tuple[list[str], str]:
        """The chain for a client's key and the authority's certificate; an hour to a day valid."""
        pair = self.pair()
        lifetime = datetime.timedelta(seconds=min(max(seconds, SHORTEST), LONGEST))
        root = pair.certificate.read_text()
        leaf = certificates.client(pair, _key(public_key), identity.uris, lifetime)
        return [leaf, root], root


def _key(public_key: str) -> certificates.PublicKey:
    try:
        key = serialization.load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise errors.invalid("public_key", "a public key in PEM is required") from error
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise errors.invalid("public_key", "an RSA or elliptic curve key is required")
    return key


@dataclass(frozen=True, slots=True)
class InstanceProxy:
    """The proxy process of one instance, at its addresses."""

    core: Core
    instance: Any
    cluster_uid: str

    def begin(self) -> None:
        """Start it, unless it runs; ``await_ready`` waits until it serves."""
        pb = self.instance
        hosts = [self.core.addresses.require(pb.name)]
        hosts += [pb.public_ip_address] if pb.public_ip_address else []
        signer = Authority(self.core.state, self.cluster_uid).pair()
        pair = certificates.server(
            self._process.folder, *hosts, signer=signer, lifetime=certificates.LONG
        )
        files = (signer.certificate, pair.certificate, pair.key)
        self._process.start(
            "lib.localcloud.alloydb_proxy",
            [str(self.core.state), pb.name, *map(str, files), *hosts],
        )

    def await_ready(self) -> None:
        """Return once it serves; INTERNAL where it has ended."""
        self._process.await_listening(self.core.addresses.require(self.instance.name), PORT)

    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.running()

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def discard(self) -> None:
        """End it and remove its folder."""
        self._process.stop()
        shutil.rmtree(self._process.folder, ignore_errors=True)

    @property
    def _process(self) -> LocalProcess:
        return LocalProcess(self.core.state / "alloydb" / f"{self.instance.uid}.proxy")
