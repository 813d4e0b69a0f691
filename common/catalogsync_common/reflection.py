"""Server reflection, which lets grpcurl and `buf curl` work without our protos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

# Imported so that tools which print an error's details can resolve their messages by reflection.
from google.rpc import error_details_pb2 as error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_SERVICE_NAME: Final = "grpc.reflection.v1.ServerReflection"
_V1_PACKAGE: Final = "grpc.reflection.v1"
_V1_FILE: Final = "grpc/reflection/v1/reflection.proto"


def register_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Serve reflection about `services` and itself in both versions that tools use, v1 and v1alpha.

    The versions differ only in the name of their package; grpcio-reflection contains v1alpha only.
    """
    _define_v1()
    servicer = reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME, V1_SERVICE_NAME))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1_SERVICE_NAME):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )


def _define_v1() -> None:
    """Add v1's descriptor to the default pool: tools fail on a listed service without a descriptor."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_V1_FILE)
    except KeyError:
        pool.Add(_v1_file())


def _v1_file() -> FileDescriptorProto:
    """Return v1alpha's file with its package renamed to v1's."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    old, new = f".{file.package}.", f".{_V1_PACKAGE}."
    file.name, file.package = _V1_FILE, _V1_PACKAGE
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)
    return file
