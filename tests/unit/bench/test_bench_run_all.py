"""All benchmarks in one run: real processes that tell what the test gives them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.__main__ import run_all
from bench.common.results import kept_outcomes


def telling(**outputs: str) -> dict[str, Sequence[str]]:
    return {name: [sys.executable, "-c", f"print({output!r})"] for name, output in outputs.items()}


def result(benchmark: str, figures: str = "1.5") -> str:
    return f'RESULT {{"benchmark":"{benchmark}","seconds":{figures}}}'


async def test_results_are_kept_with_their_origin(tmp_path: Path) -> None:
    commands = telling(write=result("write"), sync=result("sync"))
    assert await run_all(list(commands), tmp_path / "results", commands.__getitem__) == {}
    kept = kept_outcomes(tmp_path / "results")
    assert [outcome.figures["seconds"] for outcome in kept.values()] == [1.5, 1.5]
    assert set(kept["sync"].figures["provenance"]) == {"date", "commit", "machine", "versions"}


async def test_one_that_fails_keeps_the_others_running_and_its_old_result(tmp_path: Path) -> None:
    old = {"benchmark": "write", "seconds": 9}
    (tmp_path / "write.json").write_text(json.dumps(old))
    commands = telling(write="it broke", sync=result("sync"))
    failures = await run_all(["write", "sync"], tmp_path, commands.__getitem__)
    assert list(failures) == ["write"]
    assert "it broke" in failures["write"]
    assert kept_outcomes(tmp_path)["write"].figures == old
    assert kept_outcomes(tmp_path)["sync"].figures["seconds"] == 1.5


async def test_a_figure_that_is_no_number_and_a_result_of_another_are_failures(tmp_path: Path) -> None:
    commands = telling(write=result("write", "NaN"), sync=result("write"))
    failures = await run_all(["write", "sync"], tmp_path, commands.__getitem__)
    assert list(failures) == ["write", "sync"]
    assert kept_outcomes(tmp_path) == {}
