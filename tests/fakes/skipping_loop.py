"""Time without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")


class SkippingLoop(asyncio.SelectorEventLoop):
    """When nothing is left to do, its clock goes on to the next timer. For work without input and output."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready: Any = getattr(self, "_ready")  # noqa: B009 - asyncio's own, which its stubs do not tell
        timers: Any = getattr(self, "_scheduled")  # noqa: B009
        if not ready and timers:
            self._now = max(self._now, timers[0].when())
        super()._run_once()  # type: ignore[misc]


def skipping(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a test in such a loop of its own, whatever it sleeps."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
