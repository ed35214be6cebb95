"""The certificate authority of one embedded cloud, and the certificates it signs."""

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = datetime.timedelta(days=365)
RENEW_BEFORE: Final = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its private key, both PEM; the key is readable by its owner."""

    certificate: Path
    key: Path

    def current(self, host: str = "") -> bool:
        """Whether both files are there, not near expiry and (if given) valid for ``host``."""
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
        return left > RENEW_BEFORE and (not host or host in _addresses(certificate))


def _addresses(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def authority(folder: Path) -> Pair:
    """The authority's own pair in ``folder``; made anew when missing or near expiry."""
    pair = Pair(folder / "ca.pem", folder / "ca.key")
    if not pair.current():
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Embedded Google Cloud authority")
        builder = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
        )
        _write(pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def server(folder: Path, host: str) -> Pair:
    """A server pair for the address ``host`` signed by the authority; renewed near expiry."""
    signer = authority(folder)
    pair = Pair(folder / "server.pem", folder / "server.key")
    if not pair.current(host) or not _signed_by(pair, signer):
        authority_certificate = x509.load_pem_x509_certificate(signer.certificate.read_bytes())
        authority_key = serialization.load_pem_private_key(signer.key.read_bytes(), None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")]
        builder = (
            _builder(_name(host), authority_certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        )
        _write(pair, builder.sign(authority_key, hashes.SHA256()), key)
    return pair


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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
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
