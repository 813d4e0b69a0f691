"""A process stops gracefully at the first signal and at once at the second; its exit code says why it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.waiting import TIMEOUT_SECONDS

SERVICE = """
import asyncio, sys
from catalogsync_common.process import run
from catalogsync_common.server import ListenError
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import LoopFailed

async def main(stop):
    {body}

sys.exit(run(main))
"""

GRACEFUL = """
    print("up", flush=True)
    await stop.wait()
    print("stopped", flush=True)
"""

STUBBORN = """
    try:
        print("up", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaned", flush=True)
"""


STUCK = """
    from datetime import timedelta
    from catalogsync_common.process import stop_deadline

    with stop_deadline(timedelta(seconds=0.5)) as start_timer:
        print("up", flush=True)
        await stop.wait()
        start_timer()
        print("stopping", flush=True)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""


@contextmanager
def service(body: str) -> Iterator[subprocess.Popen[str]]:
    code = SERVICE.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ").strip())
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_the_service_gracefully(number: signal.Signals) -> None:
    with service(GRACEFUL) as process:
        assert next_line(process) == "up"
        process.send_signal(number)
        assert next_line(process) == "stopped"
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_signals_change_the_log_level_and_each_change_is_logged() -> None:
    with service(GRACEFUL) as process:
        assert next_line(process) == "up"
        assert process.stderr is not None
        more, less = signal.SIGUSR1, signal.SIGUSR2
        for number, level in [
            *((more, "DEBUG"), (more, "DEBUG")),
            *((less, "INFO"), (less, "WARNING"), (less, "ERROR"), (less, "ERROR")),
            *((more, "WARNING"), (more, "INFO")),
        ]:
            process.send_signal(number)
            assert json.loads(process.stderr.readline())["message"] == f"the log level is {level}"


def test_the_second_signal_cancels_the_service_which_still_cleans_up() -> None:
    with service(STUBBORN) as process:
        assert next_line(process) == "up"
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == "stopping"
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == "cleaned"
        assert process.wait(TIMEOUT_SECONDS) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("return", 0, ""),
        (
            "raise SettingsError(('SHOP_KEY: is missing', 'SHOP_X: is wrong'))",
            2,
            "SHOP_KEY: is missing\nSHOP_X: is wrong\n",
        ),
        ("raise ListenError('Cannot listen on x')", 1, "Cannot listen on x"),
        ("raise LoopFailed('worker', 10)", 3, "the background loop 'worker' failed 10 times in a row"),
        ("raise ValueError('broken')", 1, "ValueError: broken"),
        ("raise asyncio.CancelledError", 1, "CancelledError"),
    ],
)
def test_the_exit_code_says_why_the_process_ended(body: str, code: int, message: str) -> None:
    with service(body) as process:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == code
        assert message in errors
        assert ("Traceback" in errors) == ("Error" in message)


def test_a_stop_that_hangs_is_ended_by_its_deadline() -> None:
    with service(STUCK) as process:
        assert next_line(process) == "up"
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == "stopping"
        assert process.wait(timeout=TIMEOUT_SECONDS) == 1
        assert process.stderr is not None
        assert "not stopped after" in process.stderr.read()


def test_a_service_does_not_start_with_another_implementation_of_protobuf() -> None:
    """The environment variable of protobuf, or a wheel without compiled code, would choose it."""
    run = subprocess.run(
        [sys.executable, "-c", SERVICE.format(body="print('started')")],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION: protobuf's implementation is 'python'")
