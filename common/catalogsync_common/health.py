"""What grpc.health.v1 answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from catalogsync_common.drain import Drain

LIVENESS: Final = "liveness"
"""The name to ask for whether the process works, whatever it depends on: for a probe that restarts it."""


class Health:
    """The health of a server and its services, NOT_SERVING at first, and the liveness of its process."""

    SERVICE_NAME: ClassVar[str] = health.SERVICE_NAME

    def __init__(self, services: Sequence[str], *, drain: Drain) -> None:
        self._names = ("", *services)
        self._servicer = _DrainingHealthServicer((*self._names, LIVENESS), drain)

    def register(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        answer = _SERVING if serving else _NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, answer)

    async def set_live(self, live: bool) -> None:
        """What is answered for LIVENESS."""
        await self._servicer.set(LIVENESS, _SERVING if live else _NOT_SERVING)

    async def leave(self) -> None:
        """NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()


_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _DrainingHealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """Ends watches when the drain starts; else one client that watches would use up the whole grace."""

    def __init__(self, names: Sequence[str], drain: Drain) -> None:
        super().__init__()
        self._server_status = dict.fromkeys(names, _NOT_SERVING)
        self._drain = drain

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        """Return the status of every service; grpcio-health-checking leaves this out."""
        statuses = {
            name: health_pb2.HealthCheckResponse(status=status) for name, status in self._server_status.items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        await self._drain.race(super().Watch(request, context))
