"""Failures as Google reports them: a canonical code, a message and typed details."""

from collections.abc import Sequence

import grpc  # type: ignore[import-untyped]
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from lib.errors import MigrationError


class EmbeddedCloudError(MigrationError):
    """The embedded cloud cannot be started, reached or stopped; says why."""


class RpcError(Exception):
    """A refusal that a client receives as ``google.rpc.Status``."""

    def __init__(self, code: int, message: str, *details: Message) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def status(self) -> status_pb2.Status:
        """The error on the wire."""
        packed = []
        for detail in self.details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=self.code, message=self.message, details=packed)


GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _info(reason: str, domain: str = "googleapis.com", **metadata: str) -> Message:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def invalid(field: str, description: str) -> RpcError:
    """INVALID_ARGUMENT with the field that is wrong."""
    return invalid_fields([(field, description)])


def invalid_fields(violations: Sequence[tuple[str, str]]) -> RpcError:
    """INVALID_ARGUMENT with every ``(field, description)`` that is wrong."""
    detail = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )
    text = "; ".join(f"{field}: {description}" for field, description in violations)
    return RpcError(code_pb2.INVALID_ARGUMENT, text, detail)


def not_found(name: str, kind: str = "Resource") -> RpcError:
    """NOT_FOUND with the name of what is missing."""
    detail = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)
    return RpcError(
        code_pb2.NOT_FOUND,
        f"{kind} '{name}' was not found",
        _info("RESOURCE_NOT_FOUND", resource=name),
        detail,
    )


def already_exists(name: str, kind: str = "Resource") -> RpcError:
    """ALREADY_EXISTS with the name that is taken."""
    detail = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)
    return RpcError(
        code_pb2.ALREADY_EXISTS,
        f"{kind} '{name}' already exists",
        _info("RESOURCE_ALREADY_EXISTS", resource=name),
        detail,
    )


def denied(permission: str, resource: str) -> RpcError:
    """PERMISSION_DENIED: the caller lacks ``permission``, or the resource may not exist."""
    return RpcError(
        code_pb2.PERMISSION_DENIED,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        _info(
            "IAM_PERMISSION_DENIED",
            "iam.googleapis.com",
            permission=permission,
            resource=resource,
        ),
    )


def location_denied(location: str) -> RpcError:
    """PERMISSION_DENIED for a location that Google does not have."""
    return RpcError(
        code_pb2.PERMISSION_DENIED,
        f"Permission denied on 'locations/{location}' (or it may not exist).",
        _info("LOCATION_POLICY_VIOLATED", location=location),
    )


def service_disabled(service: str, project: str, number: str) -> RpcError:
    """PERMISSION_DENIED: the API is not enabled in the project."""
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project}"
    link = error_details_pb2.Help.Link(description="Enable the API", url=url)
    return RpcError(
        code_pb2.PERMISSION_DENIED,
        f"{service} has not been used in project {project} before or it is disabled. "
        f"Enable it by visiting {url} then retry.",
        _info(
            "SERVICE_DISABLED",
            service=service,
            consumer=f"projects/{number}",
            containerInfo=project,
            activationUrl=url,
        ),
        error_details_pb2.Help(links=[link]),
    )


def failed_precondition(subject: str, description: str) -> RpcError:
    """FAILED_PRECONDITION: the state of ``subject`` does not allow the call."""
    violation = error_details_pb2.PreconditionFailure.Violation(
        type="STATE", subject=subject, description=description
    )
    return RpcError(
        code_pb2.FAILED_PRECONDITION,
        description,
        error_details_pb2.PreconditionFailure(violations=[violation]),
    )


def aborted(message: str, reason: str = "CONCURRENT_MODIFICATION") -> RpcError:
    """ABORTED: somebody else changed the resource, or an operation on it is under way."""
    return RpcError(code_pb2.ABORTED, message, _info(reason))


def cancelled(operation: str) -> RpcError:
    """CANCELLED: what an operation ends with that somebody asked to stop."""
    return RpcError(code_pb2.CANCELLED, f"The operation '{operation}' was cancelled.")


def unauthenticated() -> RpcError:
    """UNAUTHENTICATED: no bearer token, or one that nobody has."""
    return RpcError(
        code_pb2.UNAUTHENTICATED,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential.",
        _info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    )


def unimplemented(message: str) -> RpcError:
    """UNIMPLEMENTED: the embedded cloud does not do this."""
    return RpcError(code_pb2.UNIMPLEMENTED, message)


def internal(message: str) -> RpcError:
    """INTERNAL: something behind the API failed; the message says what."""
    return RpcError(code_pb2.INTERNAL, message)


def behind(error: MigrationError) -> RpcError:
    """INTERNAL for a failure of what runs behind the API; its remedy travels as help."""
    text = error.what + (f" (expected: {error.expected})" if error.expected else "")
    details = []
    if error.remedy:
        link = error_details_pb2.Help.Link(description=error.remedy)
        details.append(error_details_pb2.Help(links=[link]))
    return RpcError(code_pb2.INTERNAL, text, *details)
