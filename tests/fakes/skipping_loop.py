"""An event loop whose clock skips to the next timer when nothing is left to do, so that sleeps take no time.

For code without input and output.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop with a virtual clock, in seconds from 0."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def block(self, seconds: float) -> None:
        """Let time pass in which the loop runs nothing."""
        self._now += seconds

    def _run_once(self) -> None:
        ready: Any = getattr(self, "_ready")  # noqa: B009 - private in asyncio, not in its stubs
        timers: Any = getattr(self, "_scheduled")  # noqa: B009
        if not ready and timers:
            self._now = max(self._now, timers[0].when())
        super()._run_once()  # type: ignore[misc]


def skipping(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run the decorated coroutine function in a SkippingLoop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
