"""Small runs compared with recorded ratios: real processes that print what the test gives them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.common.results import BenchmarkResult, InvalidResult
from bench.smoke.__main__ import Smoke
from bench.smoke.ratios import RecordedRatios

PRINTS_NEXT = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
first, _, rest = file.read_text().partition("\\n")
file.write_text(rest)
print("RESULT " + first) if first else sys.exit("no more runs were expected")
"""


class Runs:
    """The results that the runs of a benchmark print, one after the other."""

    def __init__(self, directory: Path, *ratios: dict[str, float], benchmark: str = "scale") -> None:
        self._file = directory / "runs"
        lines = [json.dumps({"benchmark": benchmark, "ratios": one}) for one in ratios]
        self._file.write_text("\n".join(lines))

    def command(self, benchmark: str) -> Sequence[str]:
        return [sys.executable, "-c", PRINTS_NEXT, str(self._file)]

    @property
    def left(self) -> int:
        return len(self._file.read_text().split())


async def failures(runs: Runs, recorded: dict[str, float]) -> list[str]:
    return await Smoke(RecordedRatios(ratios={"scale": recorded}), runs.command).failures(["scale"])


async def test_ratios_above_half_of_their_recorded_value_pass(tmp_path: Path) -> None:
    assert await failures(Runs(tmp_path, {"a": 1.0, "new": 7.0}), {"a": 2.0}) == []


async def test_a_fallen_ratio_is_measured_once_more_before_it_counts(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 0.9, "b": 2.0}, {"a": 1.1, "b": 0.1})
    assert await failures(runs, {"a": 2.0, "b": 2.0}) == []
    assert runs.left == 0


@pytest.mark.parametrize("second", [0.9, math.nan])
async def test_a_ratio_that_is_too_low_twice_fails(tmp_path: Path, second: float) -> None:
    found = await failures(Runs(tmp_path, {"a": math.nan}, {"a": second}), {"a": 2.0})
    assert len(found) == 1
    assert "scale: a is" in found[0]


async def test_a_ratio_that_was_not_measured_fails_without_a_second_run(tmp_path: Path) -> None:
    (found,) = await failures(Runs(tmp_path, {"b": 1.0}), {"a": 2.0, "b": 1.0})
    assert "scale: a is recorded and was not measured" in found


async def test_a_failed_benchmark_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    (found,) = await failures(Runs(tmp_path), {"a": 2.0})
    assert found.startswith("scale: ended with code 1")
    assert found.endswith("no more runs were expected")


async def test_a_benchmark_without_recorded_ratios_fails(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 1.0})
    (found,) = await Smoke(RecordedRatios(), runs.command).failures(["scale"])
    assert "nothing is recorded" in found


async def test_a_result_that_lacks_a_figure_of_the_chart_fails(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 1.0}, benchmark="write")
    recorded = RecordedRatios(ratios={"write": {"a": 1.0}})
    (found,) = await Smoke(recorded, runs.command).failures(["write"])
    assert "the result of write has no writers" in found


async def test_recording_writes_medians_and_leaves_other_benchmarks_unchanged(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 9.0}, {"a": 1.0}, {"a": 2.5})
    before = RecordedRatios(ratios={"sync": {"b": 3.0}}, provenance={"sync": {"commit": "abc"}})
    await Smoke(before, runs.command).record(["scale"], tmp_path / "recorded.json")
    after = RecordedRatios.read(tmp_path / "recorded.json")
    assert after.ratios == {"scale": {"a": 2.5}, "sync": {"b": 3.0}}
    assert after.provenance["sync"] == {"commit": "abc"}
    assert {"date", "commit", "machine", "versions"} <= set(after.provenance["scale"])


@pytest.mark.parametrize("ratios", [{}, {"a": 0.0}, {"a": -1.0}, {"a": math.nan}, {"a": math.inf}])
def test_ratios_that_are_not_positive_are_neither_recorded_nor_read(
    tmp_path: Path, ratios: dict[str, float]
) -> None:
    run = BenchmarkResult(benchmark="scale", figures={"ratios": ratios})
    with pytest.raises(InvalidResult):
        RecordedRatios().with_runs([run], {})
    file = tmp_path / "recorded.json"
    file.write_text(json.dumps({"ratios": {"scale": ratios}, "provenance": {}}))
    with pytest.raises(InvalidResult):
        RecordedRatios.read(file)


def test_runs_with_different_ratios_are_not_recorded() -> None:
    runs = [BenchmarkResult(benchmark="scale", figures={"ratios": ratios}) for ratios in ({"a": 1.0}, {"b": 1.0})]
    with pytest.raises(InvalidResult, match="the same ratios"):
        RecordedRatios().with_runs(runs, {})
