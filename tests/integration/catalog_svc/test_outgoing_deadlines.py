"""A call that the catalog makes on behalf of another one has no more time than that one."""

from __future__ import annotations

from typing import Any

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.call_context import set_deadline
from catalogsync_common.channel import open_channel

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.source.connector_client import ConnectorPlatforms
from tests.fakes.checking_connector import CheckingConnector, serve_connector


class TimedConnector(CheckingConnector):
    """Records how much time a call has."""

    def __init__(self) -> None:
        super().__init__()
        self.remaining: list[float] = []

    async def ListPlatforms(self, request: pb.ListPlatformsRequest, context: Any) -> pb.ListPlatformsResponse:
        self.remaining.append(context.time_remaining())
        return await super().ListPlatforms(request, context)


async def test_the_platforms_are_listed_within_the_remaining_time_of_the_call() -> None:
    fake = TimedConnector()
    server, address = await serve_connector(fake)
    async with open_channel(address) as channel:
        await ConnectorPlatforms(channel).names()
        with set_deadline(2):
            await ConnectorPlatforms(channel).names()
        with set_deadline(-1), pytest.raises(SourceFailed) as caught:
            await ConnectorPlatforms(channel).names()
    await server.stop(None)
    assert caught.value.reason == "CONNECTOR_UNAVAILABLE"
    without, within = fake.remaining
    assert 2 < without <= 5.1
    assert within <= 2.1
