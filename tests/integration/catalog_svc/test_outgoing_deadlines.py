"""A call that the catalog makes on behalf of another one has no more time than that one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.call_context import set_deadline
from catalogsync_common.channel import open_channel

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
    try:
        async with open_channel(address) as channel:
            await ConnectorPlatforms(channel, timeout=timedelta(hours=2)).names()
            with set_deadline(3600):
                await ConnectorPlatforms(channel, timeout=timedelta(hours=2)).names()
    finally:
        await server.stop(None)
    without, within = fake.remaining
    assert without > 3700
    assert within < 3700
