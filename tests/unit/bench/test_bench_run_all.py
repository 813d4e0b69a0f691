"""All benchmarks in one run: real processes that print what the test gives them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.__main__ import run_all
from bench.common.results import recorded_results


def printing(**outputs: str) -> dict[str, Sequence[str]]:
    return {name: [sys.executable, "-c", f"print({output!r})"] for name, output in outputs.items()}


def result_line(benchmark: str, figures: str = "1.5") -> str:
    return f'RESULT {{"benchmark":"{benchmark}","seconds":{figures}}}'


async def test_results_are_recorded_with_their_provenance(tmp_path: Path) -> None:
    commands = printing(write=result_line("write"), sync=result_line("sync"))
    assert await run_all(list(commands), tmp_path / "results", commands.__getitem__) == {}
    recorded = recorded_results(tmp_path / "results")
    assert [result.figures["seconds"] for result in recorded.values()] == [1.5, 1.5]
    assert set(recorded["sync"].figures["provenance"]) == {"date", "commit", "machine", "versions"}


async def test_a_failed_benchmark_keeps_its_old_result_and_the_others_run(tmp_path: Path) -> None:
    old = {"benchmark": "write", "seconds": 9}
    (tmp_path / "write.json").write_text(json.dumps(old))
    commands = printing(write="it failed", sync=result_line("sync"))
    failures = await run_all(["write", "sync"], tmp_path, commands.__getitem__)
    assert list(failures) == ["write"]
    assert "it failed" in failures["write"]
    assert recorded_results(tmp_path)["write"].figures == old
    assert recorded_results(tmp_path)["sync"].figures["seconds"] == 1.5


async def test_nan_and_the_result_of_another_benchmark_are_failures(tmp_path: Path) -> None:
    commands = printing(write=result_line("write", "NaN"), sync=result_line("write"))
    failures = await run_all(["write", "sync"], tmp_path, commands.__getitem__)
    assert list(failures) == ["write", "sync"]
    assert recorded_results(tmp_path) == {}
