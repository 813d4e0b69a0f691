"""What the connector says when it cannot go on, as the catalog's own failures."""

from __future__ import annotations

import grpc
from catalogsync_common.status import read_failure

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed


async def to_source_failure(error: grpc.aio.AioRpcError, call: grpc.aio.Call | None = None) -> SourceFailed:
    """The failure behind `error`; the connector's own words for its own reasons, ours for a broken connection."""
    received = await read_failure(error, call)
    if not received.reason:
        if received.is_transient or received.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ConnectorUnavailable()
        return SourceFailed(
            reason="INTERNAL",
            message="connector_svc did not understand us; see the logs",
            transient=False,
            metadata={"code": received.code.name},
        )
    return SourceFailed(
        reason=received.reason,
        message=received.message,
        transient=received.is_transient,
        metadata=received.metadata,
        retry_after=received.retry_after,
    )
