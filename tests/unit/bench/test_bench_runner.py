"""Benchmarks as processes, with real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bench.common.results import ROOT
from bench.common.runner import BenchmarkProcessFailed, run_benchmark
from tests.waiting import until

WAITS = """
import pathlib, sys, time
try:
    print("up", flush=True)
    pathlib.Path(sys.argv[1], "up").touch()
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1], "cleaned").touch()
    raise
"""

RUNS_BENCHMARK = """
import asyncio, sys
from bench.common.runner import run_benchmark, run_until_interrupted
async def work():
    await run_benchmark([sys.executable, "-c", *sys.argv[1:]])
    return 0
sys.exit(run_until_interrupted(work()))
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", source, *arguments]


async def wait_until_exists(file: Path) -> None:
    await until(file.exists)


async def test_the_output_is_passed_through_and_holds_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    source = """print("a table"); print('RESULT {"benchmark":"write","ratios":{"a":1.5}}')"""
    outcome = await run_benchmark(python(source))
    assert outcome.ratios == {"a": 1.5}
    assert capsys.readouterr().out.splitlines()[0] == "a table"


async def test_a_result_may_be_longer_than_the_default_buffer() -> None:
    source = """print('RESULT {"benchmark":"write","long":"' + "x" * 1_000_000 + '"}')"""
    assert len((await run_benchmark(python(source))).figures["long"]) == 1_000_000


async def test_a_failure_holds_the_last_lines_of_the_benchmark() -> None:
    source = """import sys; print('RESULT {"benchmark":"write"}'); sys.exit("the shop lost 3 items")"""
    with pytest.raises(BenchmarkProcessFailed, match=r"ended with code 1(.|\n)*the shop lost 3 items"):
        await run_benchmark(python(source))


async def test_a_benchmark_without_a_result_fails() -> None:
    with pytest.raises(BenchmarkProcessFailed, match=r"no RESULT was printed(.|\n)*only a table"):
        await run_benchmark(python("print('only a table')"))


async def test_a_benchmark_that_exceeds_its_timeout_is_stopped(tmp_path: Path) -> None:
    for timeout_seconds in (1, 5, 25):
        with pytest.raises(BenchmarkProcessFailed, match=rf"did not end within {timeout_seconds} s") as failed:
            await run_benchmark(python(WAITS, str(tmp_path)), timeout_seconds=timeout_seconds)
        if (tmp_path / "up").exists():
            # It had started, which takes longer on a busy machine.
            break
    assert "up" in str(failed.value).splitlines()
    assert (tmp_path / "cleaned").exists()


async def test_a_cancelled_benchmark_cleans_up_and_leaves_no_process(tmp_path: Path) -> None:
    source = f"import os, pathlib, sys; pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid())){WAITS}"
    running = asyncio.create_task(run_benchmark(python(source, str(tmp_path))))
    await wait_until_exists(tmp_path / "up")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (tmp_path / "cleaned").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_program_after_its_benchmark(tmp_path: Path, number: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(*python(RUNS_BENCHMARK, WAITS, str(tmp_path)), cwd=ROOT)
    await wait_until_exists(tmp_path / "up")
    program.send_signal(number)
    assert await program.wait() == 128 + number
    assert (tmp_path / "cleaned").exists()
