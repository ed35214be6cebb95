"""Google's errors, told with the resource, what is missing, and what mends it."""

import pickle

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError
from google.cloud.redis_v1 import Instance
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from lib.cloud import errors, fields, operations

SITUATION = errors.Situation("Redis instance agent-memory", "my-project")
DISABLED = rpc.ErrorInfo(reason="SERVICE_DISABLED", metadata={"service": "redis.googleapis.com"})
DENIED = rpc.ErrorInfo(
    reason="IAM_PERMISSION_DENIED",
    metadata={"permission": "redis.instances.create", "resource": "projects/my-project"},
)
POLICY = rpc.PreconditionFailure(
    violations=[{"type": "constraints/gcp.resourceLocations", "description": "us not allowed"}]
)
QUOTA = rpc.QuotaFailure(violations=[{"subject": "GPUS_T4", "description": "limit 0"}])
RATE = rpc.ErrorInfo(reason="RATE_LIMIT_EXCEEDED")
BILLING = rpc.ErrorInfo(reason="BILLING_DISABLED")
FIELD = rpc.BadRequest(field_violations=[{"field": "instance.tier", "description": "unknown"}])

CASES = [
    (api.PermissionDenied("no", details=[DISABLED]), errors.ApiNotEnabled, "services enable redis"),
    (api.PermissionDenied("no", details=[DENIED]), errors.PermissionMissing, "roles/redis.admin"),
    (
        api.Forbidden("Permission 'alloydb.clusters.get' denied on resource 'x'"),
        errors.PermissionMissing,
        "roles/alloydb.admin",
    ),
    (api.ResourceExhausted("no", details=[QUOTA]), errors.QuotaExceeded, "GPUS_T4"),
    (api.TooManyRequests("no", details=[RATE]), errors.RateLimited, "too many calls"),
    (
        api.PermissionDenied("no", details=[BILLING]),
        errors.BillingDisabled,
        "billing projects link",
    ),
    (api.FailedPrecondition("no", details=[POLICY]), errors.PolicyForbids, "gcp.resourceLocations"),
    (
        api.PermissionDenied("Permission denied on 'locations/us-east9' (or it may not exist)."),
        errors.RegionNotOffered,
        "us-east9",
    ),
    (api.NotFound("no parent"), errors.NotFound, "no parent"),
    (api.AlreadyExists("it"), errors.AlreadyTaken, "another name"),
    (api.Conflict("it"), errors.AlreadyTaken, "another name"),
    (api.Aborted("etag"), errors.Conflict, "somebody else"),
    (api.FailedPrecondition("private service access"), errors.Precondition, "vpc-peerings connect"),
    (api.ServiceUnavailable("down"), errors.Unavailable, "status.cloud.google.com"),
    (api.InternalServerError("oops"), errors.Unavailable, "oops"),
    (api.DeadlineExceeded("slow"), errors.TookTooLong, "run again"),
    (api.InvalidArgument("no", details=[FIELD]), errors.InvalidRequest, "instance.tier: unknown"),
    (api.Unauthenticated("expired"), errors.CredentialsRefused, "application-default login"),
    (RefreshError("expired"), errors.CredentialsRefused, "application-default login"),
    (api.RetryError("gave up", api.ServiceUnavailable("down")), errors.Unavailable, "down"),
    (api.MethodNotImplemented("no"), errors.InvalidRequest, "does not support"),
]


@pytest.mark.parametrize("original, kind, said", CASES, ids=lambda each: type(each).__name__)
def test_each_error_says_what_and_what_mends_it(original, kind, said):
    with pytest.raises(kind) as caught, errors.told(SITUATION):
        raise original
    assert type(caught.value) is kind
    assert "agent-memory" in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.__cause__ is original
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.transient) == (str(caught.value), caught.value.transient)


def test_the_embedded_target_has_its_own_remedies():
    embedded = errors.Situation("it", "p", "embedded")
    assert "lib.localcloud" in errors.translate(api.ServiceUnavailable("x"), embedded).remedy
    assert "lib.localcloud" in errors.translate(api.Unauthenticated("x"), embedded).remedy


def test_the_details_of_a_failed_operation_are_read():
    failed = operations_pb2.Operation(name="o", done=True)
    failed.error.CopyFrom(status_pb2.Status(code=8, message="no room"))
    failed.error.details.add().Pack(QUOTA)
    with pytest.raises(errors.QuotaExceeded, match="GPUS_T4"):
        operations._raise_failure(failed, SITUATION)


def test_an_operation_that_failed_is_never_retried_as_it_stands():
    failed = operations_pb2.Operation(name="o", done=True)
    failed.error.CopyFrom(status_pb2.Status(code=14, message="zone went away"))
    with pytest.raises(errors.OperationFailed) as caught:
        operations._raise_failure(failed, SITUATION)
    assert not caught.value.transient


KEYS = st.text("abc.-_", min_size=1, max_size=8)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "memory_size_gb": st.integers(1, 300),
        "tier": st.sampled_from(["BASIC", "STANDARD_HA"]),
        "display_name": st.text("abc", max_size=4),
        "labels": st.dictionaries(KEYS, st.text("xyz", max_size=3), max_size=3),
        "redis_configs": st.dictionaries(KEYS, st.text("xyz", max_size=3), max_size=3),
    },
)


@given(wanted=BODIES, there=BODIES)
def test_applying_the_masked_difference_leaves_no_difference(wanted, there):
    state = fields.plain(Instance(there))
    changed = fields.differences(Instance, wanted, state)
    masks = fields.mask(Instance, [each.path for each in changed])
    body = fields.merged(state, fields.normal(Instance, wanted) if changed else {})
    part = fields.masked(Instance, masks, body)
    assert set(part) == {each.split(".")[0] for each in masks}
    after = {**state, **part}
    for each in changed:
        assert fields.value_at(Instance, after, each.path) == each.new
    for name in set(state["labels"]) - set(wanted.get("labels", {})):
        assert after["labels"][name] == state["labels"][name]
