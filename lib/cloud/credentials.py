"""Application Default Credentials: found without slow probing, named, and checked with remedies."""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.cloud.environment import Environment, detect
from lib.cloud.errors import CredentialsMalformed, CredentialsMissing, CredentialsRefused

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
LOGIN = "run: gcloud auth application-default login"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials as Google's library gives them, with who they stand for.

    ``source`` says where they were found, ``person`` whether they are a user's own (which need a
    quota project), ``project`` and ``quota_project`` what they carry, if anything.
    """

    google: Any = field(repr=False)
    principal: str
    source: str
    person: bool
    project: str
    quota_project: str

    def check(self) -> None:
        """Ask Google for a token (network); raises ``CredentialsRefused`` where it gives none."""
        import google.auth.exceptions
        import google.auth.transport.requests

        try:
            self.google.refresh(google.auth.transport.requests.Request())
        except google.auth.exceptions.GoogleAuthError as error:
            raise CredentialsRefused(
                f"Google refused the credentials of {self.principal} ({self.source}).",
                expected="credentials that are neither expired nor revoked",
                remedy=LOGIN if self.person else "make a new key, or let the metadata server serve",
            ) from error


def credentials_file(environ: Mapping[str, str] = os.environ) -> tuple[Path, str] | None:
    """The file that Google's library would read, and what names it; None where there is none."""
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if named:
        return Path(named), "GOOGLE_APPLICATION_CREDENTIALS"
    folder = environ.get("CLOUDSDK_CONFIG") or str(
        Path(environ.get("HOME") or Path.home()) / ".config" / "gcloud"
    )
    path = Path(folder) / "application_default_credentials.json"
    return (path, "gcloud auth application-default login") if path.is_file() else None


def found(environ: Mapping[str, str] = os.environ, where: Environment | None = None) -> bool:
    """Whether there seem to be credentials; looks at files and variables only."""
    return credentials_file(environ) is not None or (where or detect(environ)).on_google


def find(environ: Mapping[str, str] = os.environ, where: Environment | None = None) -> Credentials:
    """The credentials that apply here.

    Raises ``CredentialsMissing`` or ``CredentialsMalformed``.  The metadata server is asked only
    where ``where`` says that we run on Google.
    """
    named = credentials_file(environ)
    if named is not None:
        return _from_file(*named, environ)
    if (where or detect(environ)).on_google:
        return _from_metadata()
    raise CredentialsMissing(
        "There are no Google credentials on this machine.",
        expected="GOOGLE_APPLICATION_CREDENTIALS, gcloud's application default login, or Google",
        remedy=f'{LOGIN}; or set target = "embedded" in the environment file',
    )


def _from_file(path: Path, source: str, environ: Mapping[str, str]) -> Credentials:
    import google.auth
    import google.auth.exceptions

    stored = _read(path, source)
    try:
        with warnings.catch_warnings():
            # The file is the user's own, as with google.auth.default(); both warnings are for
            # programs that take credentials from strangers, or that set no quota project.
            warnings.simplefilter("ignore")
            loaded, project = google.auth.load_credentials_from_dict(  # type: ignore[no-untyped-call]
                stored, scopes=SCOPES
            )
    except (google.auth.exceptions.GoogleAuthError, ValueError, KeyError) as error:
        raise _malformed(path, source, str(error)) from error
    return Credentials(
        google=loaded,
        principal=_principal(loaded, stored),
        source=source,
        person=stored.get("type") in ("authorized_user", "external_account_authorized_user"),
        project=environ.get("GOOGLE_CLOUD_PROJECT") or project or "",
        quota_project=environ.get("GOOGLE_CLOUD_QUOTA_PROJECT")
        or stored.get("quota_project_id", ""),
    )


def _from_metadata() -> Credentials:
    import google.auth
    import google.auth.exceptions

    try:
        loaded, project = google.auth.default(scopes=SCOPES)
    except google.auth.exceptions.GoogleAuthError as error:
        raise CredentialsMissing(
            "The metadata server of this Google machine gave no credentials.",
            expected="a service account attached to it",
            remedy=f"attach one, or {LOGIN}",
        ) from error
    return Credentials(loaded, _principal(loaded, {}), "metadata server", False, project or "", "")


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsMissing(
            f"The credentials file {path} (from {source}) can't be read: {error.strerror}.",
            expected="a readable file",
            remedy=f"correct or unset {source}, or {LOGIN}",
        ) from error
    except ValueError as error:
        raise _malformed(path, source, "it is not JSON") from error
    if not isinstance(stored, dict):
        raise _malformed(path, source, "it is not a JSON object")
    return stored


def _malformed(path: Path, source: str, why: str) -> CredentialsMalformed:
    return CredentialsMalformed(
        f"The credentials file {path} (from {source}) is malformed: {why}",
        expected="a service account key, or what gcloud writes",
        remedy=f"download the key again, or {LOGIN}",
    )


def _principal(loaded: Any, stored: Mapping[str, Any]) -> str:
    address = getattr(loaded, "service_account_email", "") or stored.get("client_email", "")
    if address and address != "default":
        return f"serviceAccount:{address}"
    account = getattr(loaded, "account", "") or stored.get("account", "")
    if account:
        return f"user:{account}"
    return "the user who logged in with gcloud" if stored else "the attached service account"
