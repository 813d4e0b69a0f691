"""Runs a benchmark as a process of its own, with its output passed through."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from bench.common.results import ROOT, BenchmarkResult, InvalidResult, result_from_output

# For an interrupted benchmark, to stop the processes that it has started.
STOP_TIMEOUT_SECONDS = 60.0
LINE_LIMIT_BYTES = 2**24
TAIL_LINES = 15


class BenchmarkProcessFailed(Exception):
    """A benchmark ended without a result; the message says how, and holds its last lines."""


def benchmark_command(benchmark: str, *arguments: str) -> list[str]:
    """Return the command line of a benchmark of this package."""
    return [sys.executable, "-m", f"bench.{benchmark}", *arguments]


async def run_benchmark(command: Sequence[str], *, timeout_seconds: float | None = None) -> BenchmarkResult:
    """Run the command and return its RESULT. On cancellation and timeout, stop the process first.

    Raises:
        BenchmarkProcessFailed: The process failed, printed no RESULT or did not end within the timeout.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LINE_LIMIT_BYTES,
        # Ctrl-C reaches this process alone, which interrupts the benchmark once: a second SIGINT would interrupt
        # its cleanup.
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        async with asyncio.timeout(timeout_seconds):
            await _pass_through(process, lines)
            code = await process.wait()
    except TimeoutError:
        raise _failure(f"did not end within {timeout_seconds:g} s", lines) from None
    finally:
        await _stop(process)
    if code != 0:
        raise _failure(f"ended with code {code}", lines)
    try:
        return result_from_output(list(lines))
    except InvalidResult as error:
        raise _failure(str(error), lines) from error


def run_until_interrupted(work: Coroutine[None, None, int]) -> int:
    """Run `work` and return its exit code; SIGINT and SIGTERM cancel it, so that no child process is left running.

    Returns:
        The result of `work`, or 128 + signal number.
    """

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


async def _pass_through(process: asyncio.subprocess.Process, lines: deque[str]) -> None:
    assert process.stdout is not None
    async for raw in process.stdout:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        print(line, flush=True)
        lines.append(line)


def _failure(how: str, lines: deque[str]) -> BenchmarkProcessFailed:
    tail = "\n".join(lines) or "(no output)"
    return BenchmarkProcessFailed(f"{how}. Its last lines:\n{tail}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Send SIGINT, so that the process stops its own children, and SIGKILL to its session after the timeout."""
    try:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
