"""A gRPC channel that is replaced when its TLS files change.

gRPC for Python reloads certificates of servers, not of clients (https://github.com/grpc/grpc/issues/41779).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import grpc

from catalogsync_common.tls_files import TlsFiles, TlsMaterial

LOGGER: Final = logging.getLogger(__name__)

_Connect = Callable[[TlsMaterial], grpc.aio.Channel]
_OpenMethod = Callable[[grpc.aio.Channel], Any]
"""Returns a multi-callable of a channel."""


class ReloadingChannel(grpc.aio.Channel):
    """A channel for stubs. A call that starts after the files have changed uses a new connection.

    Running calls continue on the connection that they have; it is closed when the last of them has ended. The
    files are looked at when a call starts: one `stat` for each file, and no background work.

    Args:
        files: the TLS files of this client.
        connect: opens a channel with the content of the files.
    """

    def __init__(self, files: TlsFiles, connect: _Connect) -> None:
        self._files = files
        self._connect = connect
        self._material = files.current()
        self._current = _CountedChannel(connect(self._material))
        self._replaced: set[_CountedChannel] = set()

    @property
    def open_channels(self) -> int:
        """The number of channels that are not closed: the current one, and those with running calls."""
        return 1 + len(self._replaced)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.stream_stream(*args, **kwargs))

    def start_call(self, open_method: _OpenMethod, *args: Any, **kwargs: Any) -> Any:
        """Start a call on the current channel, after replacing it if the files have changed."""
        material = self._files.current()
        if material is not self._material:
            self._replace(material)
        return self._current.start_call(open_method, *args, **kwargs)

    def _replace(self, material: TlsMaterial) -> None:
        replaced, self._material = self._current, material
        self._current = _CountedChannel(self._connect(material))
        self._replaced.add(replaced)
        LOGGER.info("new calls of the %s use the new TLS files", self._files.name)
        replaced.close_when_unused(on_closed=lambda: self._replaced.discard(replaced))

    async def close(self, grace: float | None = None) -> None:
        await asyncio.gather(*(one.close(grace) for one in (self._current, *self._replaced)))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._current.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._current.channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


class _MultiCallable:
    """A method of the service: starts each call on the channel that is current then."""

    def __init__(self, channel: ReloadingChannel, open_method: _OpenMethod) -> None:
        self._channel = channel
        self._open_method = open_method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._channel.start_call(self._open_method, *args, **kwargs)


class _CountedChannel:
    """A channel that counts its running calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._running = 0
        self._on_closed: Callable[[], None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start_call(self, open_method: _OpenMethod, *args: Any, **kwargs: Any) -> Any:
        call = open_method(self.channel)(*args, **kwargs)
        self._running += 1
        # Called after the caller has read all messages.
        call.add_done_callback(self._call_ended)
        return call

    def close_when_unused(self, *, on_closed: Callable[[], None]) -> None:
        """Close the channel as soon as no call runs, and then call `on_closed`."""
        self._on_closed = on_closed
        self._close_if_unused()

    async def close(self, grace: float | None = None) -> None:
        if self._closing is not None:
            await self._closing
        await self.channel.close(grace)

    def _call_ended(self, call: object) -> None:
        self._running -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._running == 0 and self._on_closed is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close_unused(self._on_closed))

    async def _close_unused(self, on_closed: Callable[[], None]) -> None:
        await self.channel.close()
        on_closed()
