"""A benchmark as a process of its own, with its output passed on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

from bench.common.results import Outcome, Untold, outcome_in

ROOT = Path(__file__).parents[1]
STOP_PATIENCE = 60.0
"""Seconds that an interrupted benchmark gets to stop what it has started."""
LONGEST_LINE = 2**24
TOLD_LINES = 15


class BenchmarkBroke(Exception):
    """A benchmark ended without a result; the message says how, and holds its last lines."""


def command_of(benchmark: str, *arguments: str) -> list[str]:
    """What runs a benchmark of this package."""
    return [sys.executable, "-m", f"bench.{benchmark}", *arguments]


async def told_by(command: Sequence[str], *, patience: float | None = None) -> Outcome:
    """The RESULT of the command, which may take `patience` seconds. Cancelled, it stops the process first."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LONGEST_LINE,
        # Ctrl-C reaches us alone, and we interrupt it once: a second time would cut its cleaning up short.
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=TOLD_LINES)
    try:
        async with asyncio.timeout(patience):
            await _pass_on(process, lines)
            code = await process.wait()
    except TimeoutError:
        raise _broken(f"did not end within {patience:g} s", lines) from None
    finally:
        await _stop(process)
    if code != 0:
        raise _broken(f"ended with code {code}", lines)
    return _outcome(lines)


async def _pass_on(process: asyncio.subprocess.Process, lines: deque[str]) -> None:
    assert process.stdout is not None
    async for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        print(line, flush=True)
        lines.append(line)


def _outcome(lines: deque[str]) -> Outcome:
    try:
        return outcome_in(list(lines))
    except Untold as error:
        raise _broken(str(error), lines) from error


def _broken(how: str, lines: deque[str]) -> BenchmarkBroke:
    tail = "\n".join(lines) or "(it wrote nothing)"
    return BenchmarkBroke(f"{how}. Its last lines:\n{tail}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Interrupts it, so that it stops its own processes, and kills it when that does not help."""
    try:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_PATIENCE):
                    await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def exit_code_of(work: Coroutine[None, None, int]) -> int:
    """Runs it; SIGINT and SIGTERM cancel it, so that nothing that it has started is left behind."""

    async def interruptible() -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
