"""In-transit encryption of a Memorystore instance: its authority, and TLS before its server."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.cloud import redis_v1 as api

from lib.localcloud import certificates
from lib.localcloud.contract import plain
from lib.localcloud.process import LocalProcess

PORT: Final = 6378


@dataclass(frozen=True, slots=True)
class Encryption:
    """The TLS front of one instance at ``host``; ``inner`` is where its server listens.

    As Google's, the server's certificate names its address as common name alone.
    """

    folder: Path
    host: str
    inner: tuple[str, int]

    def begin(self) -> None:
        """Start it, unless it runs."""
        pair = certificates.server(
            self.folder, self.host, signer=self._authority, lifetime=certificates.LONG, named=False
        )
        arguments = [self.host, PORT, *self.inner, pair.certificate, pair.key]
        self._process.start("lib.localcloud.tls_front", [str(each) for each in arguments])

    def await_ready(self) -> None:
        """Return once it serves; INTERNAL where it has ended."""
        self._process.await_listening(self.host, PORT)

    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.running()

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def discard(self) -> None:
        """End it and remove its keys."""
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def told(self) -> Any:
        """The authority's certificate as the instance tells it."""
        text = self._authority.certificate.read_text()
        certificate = x509.load_pem_x509_certificate(text.encode())
        der = certificate.public_bytes(serialization.Encoding.DER)
        message: Any = plain(api.TlsCertificate)(
            serial_number=f"{certificate.serial_number:x}",
            cert=text,
            sha1_fingerprint=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        )
        message.create_time.FromDatetime(certificate.not_valid_before_utc)
        message.expire_time.FromDatetime(certificate.not_valid_after_utc)
        return message

    @property
    def _authority(self) -> certificates.Pair:
        return certificates.authority(
            self.folder, "Embedded Memorystore authority", certificates.LONG
        )

    @property
    def _process(self) -> LocalProcess:
        return LocalProcess(self.folder)
