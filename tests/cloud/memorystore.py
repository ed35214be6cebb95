"""A Memorystore admin server in a few lines, over real gRPC, that fails when it is told to."""

from concurrent import futures

import grpc
from google.cloud import redis_v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

_REDIS = "/google.cloud.redis.v1.CloudRedis/"
_READY = redis_v1.Instance.State.READY
_CREATING = redis_v1.Instance.State.CREATING


class Memorystore(grpc.GenericRpcHandler):
    """Instances by name; ``faults`` maps a method to what happens at its next call.

    ``before`` and ``after`` answer UNAVAILABLE before or after the effect; ``slow`` leaves the
    operation running until ``finish`` is called.
    """

    def __init__(self) -> None:
        self.instances: dict[str, redis_v1.Instance] = {}
        self.operations: dict[str, operations_pb2.Operation] = {}
        self.calls: list[str] = []
        self.masks: list[list[str]] = []
        self.faults: dict[str, str] = {}
        self.server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def finish(self) -> None:
        """Let every operation and instance come to its end."""
        for instance in self.instances.values():
            instance.state = _READY
        for operation in self.operations.values():
            operation.done = True

    def service(self, details):
        method = details.method.rpartition("/")[2]
        kinds = {
            "GetInstance": redis_v1.GetInstanceRequest,
            "CreateInstance": redis_v1.CreateInstanceRequest,
            "UpdateInstance": redis_v1.UpdateInstanceRequest,
            "DeleteInstance": redis_v1.DeleteInstanceRequest,
        }
        if method == "GetOperation":
            parse = operations_pb2.GetOperationRequest.FromString
        elif details.method.startswith(_REDIS) and method in kinds:
            parse = kinds[method].deserialize
        else:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._call(method, request, context),
            request_deserializer=parse,
            response_serializer=lambda m: m.SerializeToString(),
        )

    def _call(self, method, request, context):
        self.calls.append(method)
        fault = self.faults.pop(method, "")
        if fault == "before":
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        answer = getattr(self, method)(request, context)
        if fault == "after":
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to, after the effect")
        if isinstance(answer, operations_pb2.Operation) and method != "GetOperation":
            answer.done = fault != "slow"
            if fault == "slow" and method == "CreateInstance":
                self.instances[
                    f"{request.parent}/instances/{request.instance_id}"
                ].state = _CREATING
        return answer

    def GetInstance(self, request, context):
        if request.name not in self.instances:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} was not found")
        return redis_v1.Instance.pb(self.instances[request.name])

    def CreateInstance(self, request, context):
        name = f"{request.parent}/instances/{request.instance_id}"
        if name in self.instances:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{name} exists")
        instance = redis_v1.Instance(request.instance)
        instance.name, instance.state, instance.host, instance.port = name, _READY, "10.0.0.3", 6379
        instance.authorized_network = instance.authorized_network.replace("ai-orchestra", "4711")
        self.instances[name] = instance
        return self._operation(redis_v1.Instance.pb(instance))

    def UpdateInstance(self, request, context):
        instance = self.instances[request.instance.name]
        self.masks.append(list(request.update_mask.paths))
        if len(request.update_mask.paths) != 1:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "one field at a time")
        for path in request.update_mask.paths:
            setattr(instance, path, getattr(request.instance, path))
        return self._operation(redis_v1.Instance.pb(instance))

    def DeleteInstance(self, request, context):
        del self.instances[request.name]
        return self._operation(empty_pb2.Empty())

    def GetOperation(self, request, context):
        if request.name not in self.operations:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such operation")
        return self.operations[request.name]

    def _operation(self, result):
        name = f"projects/p/locations/l/operations/{len(self.operations)}"
        self.operations[name] = operations_pb2.Operation(name=name)
        self.operations[name].response.Pack(result)
        return self.operations[name]
