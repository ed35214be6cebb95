"""AlloyDB by Google's own connectors: who gets through an instance's proxy, and who does not."""

import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lib.localcloud import certificates
from tests.localcloud.conftest import FAST, Server, code_of

ACCOUNT = "serviceAccount:app@connected.iam.gserviceaccount.com"
NOBODY = "user:nobody@example.com"
VIEWER = "user:viewer@example.com"


@pytest.fixture(scope="module")
def instance(cloud: Server) -> Any:
    """A primary with a public address that takes IAM logins; ``ACCOUNT`` may connect."""
    project = cloud.connected_project("alloydb")
    client = cloud.client("alloydb")
    roles = {"roles/alloydb.client": [ACCOUNT], "roles/alloydb.databaseUser": [ACCOUNT],
             "roles/alloydb.viewer": [VIEWER]}  # fmt: skip
    bindings = [{"role": role, "members": members} for role, members in roles.items()]
    request = {"resource": f"projects/{project}", "policy": {"bindings": bindings}}
    cloud.client("projects").set_iam_policy(request=request)
    cluster = client.create_cluster(
        parent=f"projects/{project}/locations/us-central1",
        cluster_id="connected",
        cluster={
            "network_config": {"network": f"projects/{project}/global/networks/default"},
            "initial_user": {"password": "first"},
        },
    ).result(polling=FAST)
    wanted = {
        "instance_type": "PRIMARY",
        "database_flags": {"alloydb.iam_authentication": "on"},
        "network_config": {"enable_public_ip": True},
    }
    made = client.create_instance(
        parent=cluster.name, instance_id="primary", instance=wanted
    ).result(polling=FAST)
    user = {"user_type": "ALLOYDB_IAM_USER"}
    client.create_user(parent=cluster.name, user_id="app@connected.iam", user=user)
    return made


def _attempts(cloud: Server, instance: Any, attempts: dict[str, Any]) -> dict[str, str]:
    about = cloud.start()
    tokens = {"owner": about["token"], "bad": "not-a-token"}
    for name, principal in {"account": ACCOUNT, "nobody": NOBODY, "viewer": VIEWER}.items():
        tokens[name] = cloud.command("token", "--principal", principal).strip()
    asked = {"endpoint": about["endpoint"], "tokens": tokens, "attempts": attempts}
    done = subprocess.run(
        [sys.executable, "-m", "tests.localcloud.connector_scenario", instance.name],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": about["ca"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


LOGIN = {"user": "postgres", "password": "first"}
IAM_LOGIN = {"user": "app@connected.iam", "enable_iam_auth": True}
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a password, synchronously": (
        {"driver": "psycopg", "token": "owner", "connect": LOGIN}, "postgres"),
    "a password, asynchronously": (
        {"driver": "asyncpg", "token": "owner", "connect": LOGIN}, "postgres"),
    "IAM, synchronously": (
        {"driver": "psycopg", "token": "account", "connect": IAM_LOGIN}, "app@connected.iam"),
    "IAM, asynchronously": (
        {"driver": "asyncpg", "token": "account", "connect": IAM_LOGIN}, "app@connected.iam"),
    "the public address": (
        {"driver": "psycopg", "token": "owner", "connect": {**LOGIN, "ip_type": "PUBLIC"}},
        "postgres"),
    "no name in PSC": (
        {"driver": "psycopg", "token": "owner", "connect": {**LOGIN, "ip_type": "PSC"}},
        "IPTypeNotFoundError"),
    "a wrong password": (
        {"driver": "psycopg", "token": "owner", "connect": {**LOGIN, "password": "wrong"}},
        "password authentication failed"),
    "a token that nobody has": (
        {"driver": "psycopg", "token": "bad", "connect": LOGIN}, "Unauthenticated: 401"),
    "no permission at all": (
        {"driver": "psycopg", "token": "nobody", "connect": LOGIN},
        "Permission 'alloydb.instances.connect' denied"),
    "a bad token in the exchange": (
        {"driver": "psycopg", "token": "owner", "database_token": "bad", "connect": LOGIN},
        "Metadata Exchange request has failed with error: the OAuth token is not valid"),
    "no permission in the exchange": (
        {"driver": "psycopg", "token": "owner", "database_token": "nobody", "connect": LOGIN},
        "Metadata Exchange request has failed with error: Permission 'alloydb.instances.connect'"),
    "another's IAM user": (
        {"driver": "psycopg", "token": "owner", "connect": IAM_LOGIN},
        'the token is not one of IAM user "app@connected.iam"'),
    "IAM for a built-in user": (
        {"driver": "psycopg", "token": "account",
         "connect": {"user": "postgres", "enable_iam_auth": True}},
        '"postgres" is no IAM user'),
    "a password for an IAM user": (
        {"driver": "asyncpg", "token": "owner",
         "connect": {"user": "app@connected.iam", "password": "guessed"}},
        "the OAuth token is not valid"),
}  # fmt: skip


def test_connectors_of_both_kinds(cloud: Server, instance: Any) -> None:
    found = _attempts(cloud, instance, {name: attempt for name, (attempt, _) in TABLE.items()})
    wrong = {name: found[name] for name, (_, said) in TABLE.items() if said not in found[name]}
    assert not wrong


def test_iam_logins_are_refused_while_the_flag_is_off(cloud: Server, instance: Any) -> None:
    client = cloud.client("alloydb")

    def set_flag(value: str) -> None:
        flags = {"database_flags": {"alloydb.iam_authentication": value}}
        mask = {"paths": ["database_flags"]}
        client.update_instance(instance={"name": instance.name, **flags}, update_mask=mask).result(
            polling=FAST
        )

    set_flag("off")
    attempt = TABLE["IAM, synchronously"][0]
    found = _attempts(cloud, instance, {"iam": attempt, "iam2": {**attempt, "driver": "asyncpg"}})
    assert all("IAM database authentication is off" in said for said in found.values())
    set_flag("on")


def _certificate(cloud: Server, cluster: str) -> tuple[Any, str, str]:
    """A key, a chain for it from the cluster's authority, and that authority's certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    made = cloud.client("alloydb").generate_client_certificate(
        request={"parent": cluster, "public_key": key.public_key().public_bytes(*form).decode(),
                 "cert_duration": {"seconds": 7200}, "use_metadata_exchange": True}
    )  # fmt: skip
    return key, "".join(made.pem_certificate_chain), made.ca_cert


def _served(instance: Any, ca: str, folder: Path, key: Any = None, chain: str = "") -> bool:
    """Whether the proxy answers a client with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    if key is not None:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        (folder / "chain.pem").write_text(chain)
        (folder / "key.pem").write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    try:
        with (
            socket.create_connection((instance.ip_address, 5433), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=instance.ip_address) as secure,
        ):
            secure.sendall(bytes(4))  # an exchange that asks for nothing, which is answered
            return secure.recv(1) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def test_client_certificates(cloud: Server, instance: Any, tmp_path: Path) -> None:
    cluster = instance.name.rpartition("/instances/")[0]
    key, chain, ca = _certificate(cloud, cluster)
    leaf = x509.load_pem_x509_certificate(chain.encode())
    assert 7000 < (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() < 7800
    assert _served(instance, ca, tmp_path, key, chain)
    assert not _served(instance, ca, tmp_path)
    foreign = certificates.authority(tmp_path / "foreign")
    forged = certificates.client(foreign, key.public_key(), [], certificates.LIFETIME)
    assert not _served(instance, ca, tmp_path, key, forged)
    every = (cloud.state / "alloydb").glob("*.authority/ca.pem")
    [pair] = [each for each in every if each.read_text().strip() == ca.strip()]
    signer = certificates.Pair(pair, pair.with_name("ca.key"))
    gone = certificates.client(signer, key.public_key(), [], datetime.timedelta(minutes=-1))
    assert not _served(instance, ca, tmp_path, key, gone)


def test_certificates_and_connection_are_asked_for_by_those_who_may(
    cloud: Server, instance: Any
) -> None:
    cluster = instance.name.rpartition("/instances/")[0]
    client = cloud.client("alloydb")
    for request in ({"parent": cluster}, {"parent": cluster, "public_key": "nonsense"}):
        code = code_of(lambda: client.generate_client_certificate(request=request))  # noqa: B023
        assert code == "INVALID_ARGUMENT"
    viewer = cloud.client("alloydb", principal=VIEWER)
    asked = {"parent": cluster, "public_key": "x"}
    assert code_of(lambda: viewer.generate_client_certificate(request=asked)) == "PERMISSION_DENIED"
    asked = {"parent": instance.name}
    assert code_of(lambda: viewer.get_connection_info(request=asked)) == "PERMISSION_DENIED"
    assert client.get_connection_info(request=asked).public_ip_address == instance.public_ip_address
