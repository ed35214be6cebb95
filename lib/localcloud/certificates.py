"""The certificate authority of one embedded cloud, and the certificates it signs."""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = datetime.timedelta(days=365)
LONG: Final = datetime.timedelta(days=3650)
"""The lifetime of certificates that a running process keeps, and can't renew."""

RENEW_BEFORE: Final = datetime.timedelta(days=30)

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its private key, both PEM; the key is readable by its owner."""

    certificate: Path
    key: Path

    def current(self, *hosts: str) -> bool:
        """Whether both files are there, not near expiry and valid for all ``hosts``."""
        if not (self.certificate.exists() and self.key.exists()):
            return False
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        except ValueError:
            return False
        if key.public_key() != certificate.public_key():
            return False  # a kill between the two writes leaves halves of different pairs
        left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        return left > RENEW_BEFORE and (not hosts or {*hosts} <= {*_addresses(certificate)})


def _addresses(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def authority(
    folder: Path,
    name: str = "Embedded Google Cloud authority",
    lifetime: datetime.timedelta = LIFETIME,
) -> Pair:
    """The authority's own pair in ``folder``; made anew when missing or near expiry."""
    pair = Pair(folder / "ca.pem", folder / "ca.key")
    if not pair.current():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), _name(name), key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
        )
        _write(pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def server(
    folder: Path,
    *hosts: str,
    signer: Pair | None = None,
    lifetime: datetime.timedelta = LIFETIME,
    named: bool = True,
) -> Pair:
    """A server pair for the addresses ``hosts``, renewed near expiry.

    It is signed by ``signer``, else by the authority in the same ``folder``.  One that is not
    ``named`` has the first address as its common name alone.
    """
    signer = signer or authority(folder)
    pair = Pair(folder / "server.pem", folder / "server.key")
    if not pair.current(*(hosts if named else ())) or not _signed_by(pair, signer):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts if named]
        certificate = _signed(
            signer,
            _name(hosts[0]),
            key.public_key(),
            [*names, x509.DNSName("localhost")],
            ExtendedKeyUsageOID.SERVER_AUTH,
            lifetime,
        )
        _write(pair, certificate, key)
    return pair


def client(
    signer: Pair, public_key: PublicKey, told: Sequence[str], lifetime: datetime.timedelta
) -> str:
    """A client's certificate (PEM) for its ``public_key``; it carries ``told`` as URIs."""
    certificate = _signed(
        signer,
        _name("AlloyDB client"),
        public_key,
        [x509.UniformResourceIdentifier(each) for each in told],
        ExtendedKeyUsageOID.CLIENT_AUTH,
        lifetime,
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _signed(
    signer: Pair,
    subject: x509.Name,
    key: PublicKey,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    lifetime: datetime.timedelta,
) -> x509.Certificate:
    issuer = x509.load_pem_x509_certificate(signer.certificate.read_bytes())
    issuer_key = serialization.load_pem_private_key(signer.key.read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(subject, issuer.subject, key, lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _signed_by(pair: Pair, signer: Pair) -> bool:
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    try:
        certificate.verify_directly_issued_by(
            x509.load_pem_x509_certificate(signer.certificate.read_bytes())
        )
    except Exception:  # a forged or foreign signature has several exception types
        return False
    return True


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """The key first, both replaced whole, so that a kill leaves no half of a file."""
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(pair.key, private)
    public = pair.certificate.with_suffix(".new")
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    public.replace(pair.certificate)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
