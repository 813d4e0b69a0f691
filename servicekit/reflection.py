"""Server reflection, which lets grpcurl and `buf curl` work without our protos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

# Known to this process, the messages in an error's details can be resolved by whoever prints them.
from google.rpc import error_details_pb2 as error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_SERVICE_NAME: Final = "grpc.reflection.v1.ServerReflection"


def register_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Answers reflection in the versions that tools ask for, v1 and v1alpha, about `services`.

    The versions differ in their package's name only, and grpcio-reflection brings v1alpha. v1 is not in the
    list of services: there is no descriptor for it, and tools give up on a service they cannot describe.
    """
    servicer = reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1_SERVICE_NAME):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
