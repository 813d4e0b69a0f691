"""Reflection in both versions: grpcurl and `buf curl` work without our protos."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import DESCRIPTOR
from catalogsync_common.server import Service
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from tests.integration.common.conftest import Handlers, Running, Serve

CATALOG = DESCRIPTOR.services_by_name["CatalogService"].full_name
VERSIONS = ["v1", "v1alpha"]
SERVICES = [f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS]


async def reflect(running: Running, version: str, **question: str) -> Any:
    method = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers = [answer async for answer in method(iter([reflection_pb2.ServerReflectionRequest(**question)]))]
    assert len(answers) == 1
    return answers[0]


def defined_in(file: FileDescriptorProto) -> set[str]:
    names = [service.name for service in file.service] + [message.name for message in file.message_type]
    return {f"{file.package}.{name}" for name in names}


def catalog() -> list[Service]:
    return [Service(name=CATALOG, register=lambda server: None)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_lists_every_service(version: str, serve: Serve) -> None:
    async with serve(Handlers(), services=catalog()) as running:
        answer = await reflect(running, version, list_services="")
        assert [service.name for service in answer.list_services_response.service] == sorted(
            [CATALOG, "grpc.health.v1.Health", *SERVICES, "test.Probe"]
        )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("symbol", [CATALOG, "google.rpc.ErrorInfo", "grpc.health.v1.Health", *SERVICES])
async def test_reflection_describes_services_and_error_details(version: str, symbol: str, serve: Serve) -> None:
    async with serve(Handlers(), services=catalog()) as running:
        answer = await reflect(running, version, file_containing_symbol=symbol)
        files = answer.file_descriptor_response.file_descriptor_proto
        assert symbol in {name for raw in files for name in defined_in(FileDescriptorProto.FromString(raw))}


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_can_be_disabled(version: str, serve: Serve) -> None:
    async with serve(Handlers(), services=catalog(), reflection=False) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflect(running, version, list_services="")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
