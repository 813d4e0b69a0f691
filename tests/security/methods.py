"""Calls every method of the contract by its descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2, catalog_service_pb2
from catalogsync.connector.v1 import connector_service_pb2
from catalogsync_common.auth.access_rules import AccessRule, path_of, rule_of
from catalogsync_common.status import ReceivedFailure, read_failure
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.security.target import Metadata
from tests.waiting import TIMEOUT_SECONDS

_SERVICES: Final = (
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
    analysis_service_pb2.DESCRIPTOR.services_by_name["AnalysisService"],
    connector_service_pb2.DESCRIPTOR.services_by_name["ConnectorService"],
)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract."""

    descriptor: MethodDescriptor

    def __str__(self) -> str:
        return str(self.descriptor.name)

    @property
    def service(self) -> str:
        """The name of its service, without package."""
        return str(self.descriptor.containing_service.name)

    @property
    def is_of_catalog(self) -> bool:
        """Whether catalog_svc serves it."""
        return self.service != "ConnectorService"

    @property
    def rule(self) -> AccessRule:
        """The access rule that the contract states."""
        return rule_of(self.descriptor)

    @property
    def request_type(self) -> type[Message]:
        return GetMessageClass(self.descriptor.input_type)

    @property
    def response_type(self) -> type[Message]:
        return GetMessageClass(self.descriptor.output_type)

    async def call(
        self, channel: grpc.aio.Channel, request: Message | bytes, metadata: Metadata = ()
    ) -> Message | ReceivedFailure:
        """Make a call and return its response, or the first one of a stream; or the failure."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        options: dict[str, Any] = {"metadata": metadata, "timeout": TIMEOUT_SECONDS}
        try:
            if not self.descriptor.server_streaming:
                unary: Any = channel.unary_unary(path_of(self.descriptor), response_deserializer=self._parse)
                response: Message = await unary(raw, **options)
                return response
            stream: Any = channel.unary_stream(path_of(self.descriptor), response_deserializer=self._parse)
            call = stream(raw, **options)
            try:
                first = await call.read()
            except grpc.aio.AioRpcError as error:
                return await read_failure(error, call)
            call.cancel()
            return first if isinstance(first, Message) else self.response_type()
        except grpc.aio.AioRpcError as error:
            return await read_failure(error)

    def _parse(self, raw: bytes) -> Message:
        message = self.response_type()
        message.ParseFromString(raw)
        return message


METHODS: Final = tuple(Method(method) for service in _SERVICES for method in service.methods)
