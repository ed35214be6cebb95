"""Every error of Google's clients that users meet, told as ours with what mends it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lib.cloud.permissions import grant_command
from lib.errors import MigrationError


class CloudError(MigrationError):
    """Google Cloud, or the embedded one, refused or failed something.

    ``transient`` is True where the same call may succeed a little later.
    """

    transient = False


class CredentialsMissing(CloudError):
    """There are no credentials, or their file can't be read."""


class CredentialsMalformed(CloudError):
    """The credentials file is not one."""


class CredentialsRefused(CloudError):
    """The credentials are expired, revoked or unknown to the target."""


class ApiNotEnabled(CloudError):
    """The API is not enabled on the project; newly enabled ones take a few minutes to spread."""


class PermissionMissing(CloudError):
    """The caller lacks a permission, or the resource does not exist and Google doesn't say so."""


class QuotaExceeded(CloudError):
    """A quota or a rate limit is used up."""


class RateLimited(QuotaExceeded):
    """Too many calls in a short time; passes by itself."""

    transient = True


class BillingDisabled(CloudError):
    """The project has no active billing account."""


class PolicyForbids(CloudError):
    """An organization policy forbids what was asked."""


class RegionNotOffered(CloudError):
    """The product does not exist in the region, or a policy keeps the project out of it."""


class NotFound(CloudError):
    """The resource, or the parent it should stand in, does not exist."""


class AlreadyTaken(CloudError):
    """The name belongs to something that we can't use: another owner's, or a deleted one's."""


class Precondition(CloudError):
    """Something must be true first: a network connection, a state, an empty parent."""


class InvalidRequest(CloudError):
    """Google refuses the values; the message names the fields."""


class Conflict(CloudError):
    """Somebody changed the same thing at the same time; reading again and retrying mends it."""

    transient = True


class Unavailable(CloudError):
    """The service can't be reached, or had an error of its own; usually passes."""

    transient = True


class TookTooLong(CloudError):
    """A call or an operation did not finish in time; the operation may still go on."""


class OperationFailed(CloudError):
    """A long-running operation, or the resource it worked on, ended in failure."""


class OperationCancelled(OperationFailed):
    """Somebody cancelled a long-running operation before it had done its work."""


class CannotChange(CloudError):
    """The resource differs in fields that Google never changes in place."""


@dataclass(frozen=True, slots=True)
class Details:
    """What an error carries beyond its message, gathered from its ``google.rpc`` details."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    quotas: tuple[str, ...] = ()
    preconditions: tuple[tuple[str, str], ...] = ()
    links: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """What was being done: ``subject`` as people name it, on which project and target."""

    subject: str
    project: str = ""
    target: str = "google"


@contextmanager
def told(situation: Situation) -> Iterator[None]:
    """Turn what Google's libraries raise inside into a ``CloudError``, the original its cause."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise translate(error, situation) from error


def translate(error: Exception, situation: Situation) -> CloudError:
    """The ``CloudError`` that an exception of google.api_core or google.auth means."""
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, TransportError):
        return _unavailable(str(error), situation)
    if isinstance(error, GoogleAuthError):
        return _unauthenticated(str(error), situation)
    if not isinstance(error, api.GoogleAPICallError):
        return _unavailable(str(error), situation)
    message = error.message or str(error)
    details = read_details(error)
    special = _by_reason(message, details, situation)
    return special or _by_code(error, message, details, situation)


def read_details(error: Any) -> Details:
    """Gather the details of an API error, also of one that a long-running operation ended with."""
    reason, metadata = "", dict[str, str]()
    violated: list[str] = []
    quotas: list[str] = []
    preconditions: list[tuple[str, str]] = []
    links: list[str] = []
    hints: list[str] = []
    for detail in (*error.details, *_operation_details(error)):
        name = type(detail).__name__
        if name == "ErrorInfo":
            reason, metadata = detail.reason, dict(detail.metadata)
        elif name == "BadRequest":
            violated += [f"{v.field}: {v.description}" for v in detail.field_violations]
        elif name == "QuotaFailure":
            quotas += [f"{v.subject}: {v.description}" for v in detail.violations]
        elif name == "PreconditionFailure":
            preconditions += [(v.type, v.description) for v in detail.violations]
        elif name == "Help":
            links += [link.url for link in detail.links if link.url]
            hints += [link.description for link in detail.links if not link.url]
    return Details(
        reason,
        metadata,
        tuple(violated),
        tuple(quotas),
        tuple(preconditions),
        tuple(links),
        tuple(hints),
    )


def _operation_details(error: Any) -> list[Any]:
    """google.api_core leaves the details of a failed operation packed in its status."""
    from google.rpc import error_details_pb2 as rpc
    from google.rpc import status_pb2

    kinds = (rpc.ErrorInfo, rpc.BadRequest, rpc.QuotaFailure, rpc.PreconditionFailure, rpc.Help)
    found = []
    for status in error.errors or ():
        for packed in status.details if isinstance(status, status_pb2.Status) else ():
            for kind in kinds:
                if packed.Is(kind.DESCRIPTOR):
                    message = kind()
                    packed.Unpack(message)
                    found.append(message)
    return found


def _by_reason(message: str, details: Details, situation: Situation) -> CloudError | None:
    """The errors that are told by their reason, whatever code they came with."""
    project = situation.project or "PROJECT_ID"
    policy = any("constraints/" in kind + text for kind, text in details.preconditions)
    if details.reason == "SERVICE_DISABLED" or "has not been used in project" in message:
        service = details.metadata.get("service") or _first(r"([a-z]+\.googleapis\.com)", message)
        return ApiNotEnabled(
            f"{situation.subject}: the API {service or '(unnamed)'} is not enabled.",
            expected=f"{service or 'the API'} enabled on project {project}",
            remedy=f"run: gcloud services enable {service or 'SERVICE'} --project={project}; "
            "then wait a few minutes and run again",
        )
    if details.reason in ("BILLING_DISABLED", "UREQ_PROJECT_BILLING_NOT_FOUND") or (
        "requires billing" in message.lower() or "billing must be enabled" in message.lower()
    ):
        return BillingDisabled(
            f"{situation.subject}: billing is not enabled on project {project}.",
            expected="an active billing account linked to the project",
            remedy=f"run: gcloud billing projects link {project} --billing-account=ACCOUNT_ID",
        )
    if policy or "constraints/" in message or details.reason == "ORG_RESTRICTION_VIOLATION":
        constraint = _first(r"(constraints/[\w.]+)", f"{message} {details.preconditions}")
        return PolicyForbids(
            f"{situation.subject}: policy {constraint} forbids it: {message}",
            expected="a policy that allows it for this project",
            remedy="choose allowed values in the environment file, or ask the organization policy "
            f"administrator: gcloud org-policies describe {constraint or 'CONSTRAINT'} "
            f"--project={project} --effective",
        )
    region = _first(r"ermission denied on '?locations/([\w-]+)", message)
    if region or details.reason == "LOCATION_POLICY_VIOLATED":
        return region_not_offered(situation.subject, region or details.metadata.get("location", ""))
    return None


def region_not_offered(subject: str, region: str, offered: Sequence[str] = ()) -> RegionNotOffered:
    """The error for a product that a region does not have; ``offered`` are those that have it."""
    return RegionNotOffered(
        f"{subject}: the region {region} does not have it, or a policy forbids the region.",
        expected=f"one of {', '.join(offered)}" if offered else "a region with every product",
        remedy="choose another region and its zone under [project] in the environment file; "
        "https://cloud.google.com/about/locations tells what is where",
    )


def _by_code(error: Any, message: str, details: Details, situation: Situation) -> CloudError:
    """By the HTTP status, which both transports have; parents stand for codes that share one."""
    from google.api_core import exceptions as api

    subject = situation.subject
    if isinstance(error, api.Unauthorized):
        return _unauthenticated(message, situation)
    if isinstance(error, api.Forbidden):
        return _forbidden(message, details, situation)
    if isinstance(error, api.NotFound):
        return NotFound(
            f"{subject}: not found: {message}",
            expected="the resource and its parents exist",
            remedy="run the steps before this one, or correct the name in the environment file",
        )
    if isinstance(error, api.TooManyRequests):
        return _quota(message, details, situation)
    if isinstance(error, api.Aborted):
        return Conflict(
            f"{subject}: changed by somebody else meanwhile: {message}",
            remedy="tried again by itself; else run again when the other change is done",
        )
    if isinstance(error, api.Conflict):
        return AlreadyTaken(
            f"{subject}: the name is taken: {message}",
            expected="a free name, or a resource of ours",
            remedy="choose another name in the environment file, or give us access to the existing",
        )
    if isinstance(error, api.FailedPrecondition):
        causes = "; ".join(text for _, text in details.preconditions)
        return Precondition(
            f"{subject}: a precondition does not hold: {causes or message}",
            expected="what the message names to be true first",
            remedy=_precondition_remedy(message, situation),
        )
    if isinstance(error, api.GatewayTimeout | api.Cancelled):
        late = TookTooLong(
            f"{subject}: no answer in time: {message}",
            remedy="run again: it looks first whether the work was done",
        )
        # Trying again looks first, so a call that took effect unheard is not made twice.
        late.transient = isinstance(error, api.GatewayTimeout)
        return late
    if isinstance(error, api.BadRequest):
        return InvalidRequest(
            f"{subject}: refused: {'; '.join(details.fields) or message}",
            expected="values that the API accepts",
            remedy="correct them in the environment file",
        )
    if isinstance(error, api.MethodNotImplemented):
        return InvalidRequest(f"{subject}: the target does not support this call: {message}")
    return _unavailable(message, situation, details.hints)


def _forbidden(message: str, details: Details, situation: Situation) -> CloudError:
    permission = details.metadata.get("permission") or _first(
        r"'?([a-z]+\.[A-Za-z]+\.[A-Za-z]+)'?", message
    )
    resource = details.metadata.get("resource") or _first(r"resource '([^']+)'", message)
    where = f" on {resource}" if resource else ""
    return PermissionMissing(
        f"{situation.subject}: the permission {permission or '(unnamed)'} is missing{where}"
        f"{'' if permission else ': ' + message}",
        expected="a role that holds it; Google also answers so where the resource does not exist",
        remedy=grant_command(permission, situation.project),
    )


def _quota(message: str, details: Details, situation: Situation) -> CloudError:
    if details.reason == "RATE_LIMIT_EXCEEDED" and not details.quotas:
        return RateLimited(f"{situation.subject}: too many calls for now: {message}")
    which = "; ".join(details.quotas) or details.metadata.get("quota_metric") or message
    return QuotaExceeded(
        f"{situation.subject}: a quota is used up: {which}",
        expected="enough quota in this region",
        remedy="ask for more at https://console.cloud.google.com/iam-admin/quotas"
        f"?project={situation.project}, free some, or choose smaller values",
    )


def _unauthenticated(message: str, situation: Situation) -> CloudError:
    login = "gcloud auth application-default login"
    remedy = "python -m lib.localcloud start" if situation.target == "embedded" else login
    return CredentialsRefused(
        f"{situation.subject}: the credentials were refused: {message}",
        expected="credentials that are neither expired nor revoked",
        remedy=f"run: {remedy}",
    )


def _unavailable(message: str, situation: Situation, hints: tuple[str, ...] = ()) -> CloudError:
    here = "run: python -m lib.localcloud status, and start it if it is not running"
    there = "look at https://status.cloud.google.com and the network, then run again"
    return Unavailable(
        f"{situation.subject}: the service is not available: {message}",
        remedy="; ".join(hints) or (here if situation.target == "embedded" else there),
    )


def _precondition_remedy(message: str, situation: Situation) -> str:
    if "network" in message.lower() or "private service" in message.lower():
        return (
            "connect the network to Google's services: gcloud compute addresses create "
            "google-managed-services --global --purpose=VPC_PEERING --prefix-length=16 "
            "--network=NETWORK; gcloud services vpc-peerings connect "
            "--service=servicenetworking.googleapis.com --ranges=google-managed-services "
            f"--network=NETWORK --project={situation.project or 'PROJECT_ID'}"
        )
    return "make it true, then run again"


def after_failure(details: Details, situation: Situation) -> str:
    """What to do about an operation, or a resource, that ended in failure."""
    look = (
        "read server.log in the state folder that python -m lib.localcloud status names"
        if situation.target == "embedded"
        else "look at the resource in the console"
    )
    return "; ".join(details.hints) or f"run again; if it fails the same way, {look}"


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""
