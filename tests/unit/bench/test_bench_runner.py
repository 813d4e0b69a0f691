"""Benchmarks as processes, with real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bench.common.runner import ROOT, BenchmarkBroke, told_by
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

RUNS_ONE = """
import asyncio, sys
from bench.common.runner import exit_code_of, told_by
async def work():
    await told_by([sys.executable, "-c", *sys.argv[1:]])
    return 0
sys.exit(exit_code_of(work()))
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", source, *arguments]


async def appeared(file: Path) -> None:
    await until(file.exists)


async def test_the_output_is_passed_on_and_its_last_line_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    source = """print("a table"); print('RESULT {"benchmark":"write","ratios":{"a":1.5}}')"""
    outcome = await told_by(python(source))
    assert outcome.ratios == {"a": 1.5}
    assert capsys.readouterr().out.splitlines()[0] == "a table"


async def test_a_result_may_be_longer_than_any_buffer() -> None:
    source = """print('RESULT {"benchmark":"write","long":"' + "x" * 1_000_000 + '"}')"""
    assert len((await told_by(python(source))).figures["long"]) == 1_000_000


async def test_a_benchmark_that_fails_does_so_with_its_own_last_lines() -> None:
    source = """import sys; print('RESULT {"benchmark":"write"}'); sys.exit("the shop lost 3 items")"""
    with pytest.raises(BenchmarkBroke, match=r"ended with code 1(.|\n)*the shop lost 3 items"):
        await told_by(python(source))


async def test_a_benchmark_without_a_result_has_failed() -> None:
    with pytest.raises(BenchmarkBroke, match=r"told no RESULT(.|\n)*only a table"):
        await told_by(python("print('only a table')"))


async def test_one_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    for patience in (1, 5, 25):
        with pytest.raises(BenchmarkBroke, match=rf"did not end within {patience} s") as broke:
            await told_by(python(WAITS, str(tmp_path)), patience=patience)
        if (tmp_path / "up").exists():
            # It had begun, which takes longer on a busy machine.
            break
    assert "up" in str(broke.value).splitlines()
    assert (tmp_path / "cleaned").exists()


async def test_interrupting_lets_a_benchmark_clean_up_and_leaves_nothing(tmp_path: Path) -> None:
    source = f"import os, pathlib, sys; pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid())){WAITS}"
    running = asyncio.create_task(told_by(python(source, str(tmp_path))))
    await appeared(tmp_path / "up")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (tmp_path / "cleaned").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_either_signal_ends_the_program_after_its_benchmark(tmp_path: Path, number: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(*python(RUNS_ONE, WAITS, str(tmp_path)), cwd=ROOT)
    await appeared(tmp_path / "up")
    program.send_signal(number)
    assert await program.wait() == 128 + number
    assert (tmp_path / "cleaned").exists()
