"""Small runs against recorded ratios: real processes that tell what the test gives them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.common.results import Outcome, Untold
from bench.smoke import Smoke
from bench.smoke.ratios import Recorded

TELLS_NEXT = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
first, _, rest = file.read_text().partition("\\n")
file.write_text(rest)
print("RESULT " + first) if first else sys.exit("no more runs were expected")
"""


class Runs:
    """What the runs of a benchmark tell, one after the other."""

    def __init__(self, place: Path, *ratios: dict[str, float], benchmark: str = "scale") -> None:
        self._file = place / "runs"
        lines = [json.dumps({"benchmark": benchmark, "ratios": one}) for one in ratios]
        self._file.write_text("\n".join(lines))

    def command(self, benchmark: str) -> Sequence[str]:
        return [sys.executable, "-c", TELLS_NEXT, str(self._file)]

    @property
    def left(self) -> int:
        return len(self._file.read_text().split())


async def complaints(runs: Runs, recorded: dict[str, float]) -> list[str]:
    return await Smoke(Recorded(ratios={"scale": recorded}), runs.command).complaints(["scale"])


async def test_ratios_above_half_of_what_is_recorded_are_no_complaint(tmp_path: Path) -> None:
    assert await complaints(Runs(tmp_path, {"a": 1.0, "new": 7.0}), {"a": 2.0}) == []


async def test_a_fallen_ratio_is_measured_once_more_before_it_counts(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 0.9, "b": 2.0}, {"a": 1.1, "b": 0.1})
    assert await complaints(runs, {"a": 2.0, "b": 2.0}) == []
    assert runs.left == 0


@pytest.mark.parametrize("second", [0.9, math.nan])
async def test_one_that_stays_fallen_is_a_complaint(tmp_path: Path, second: float) -> None:
    found = await complaints(Runs(tmp_path, {"a": math.nan}, {"a": second}), {"a": 2.0})
    assert len(found) == 1
    assert "scale: a is" in found[0]


async def test_a_ratio_that_vanished_is_a_complaint_without_a_second_run(tmp_path: Path) -> None:
    (found,) = await complaints(Runs(tmp_path, {"b": 1.0}), {"a": 2.0, "b": 1.0})
    assert "scale: a is recorded and was not measured" in found


async def test_a_benchmark_that_breaks_is_a_complaint_with_its_last_lines(tmp_path: Path) -> None:
    (found,) = await complaints(Runs(tmp_path), {"a": 2.0})
    assert found.startswith("scale: ended with code 1")
    assert found.endswith("no more runs were expected")


async def test_a_benchmark_of_which_nothing_is_recorded_is_a_complaint(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 1.0})
    (found,) = await Smoke(Recorded(), runs.command).complaints(["scale"])
    assert "nothing is recorded" in found


async def test_a_result_that_lacks_what_the_chart_shows_is_a_complaint(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 1.0}, benchmark="write")
    recorded = Recorded(ratios={"write": {"a": 1.0}})
    (found,) = await Smoke(recorded, runs.command).complaints(["write"])
    assert "the result of write has no writers" in found


async def test_recording_writes_medians_and_leaves_other_benchmarks_as_they_were(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {"a": 9.0}, {"a": 1.0}, {"a": 2.5})
    before = Recorded(ratios={"sync": {"b": 3.0}}, provenance={"sync": {"commit": "abc"}})
    await Smoke(before, runs.command).record(["scale"], tmp_path / "recorded.json")
    after = Recorded.read(tmp_path / "recorded.json")
    assert after.ratios == {"scale": {"a": 2.5}, "sync": {"b": 3.0}}
    assert after.provenance["sync"] == {"commit": "abc"}
    assert {"date", "commit", "machine", "versions"} <= set(after.provenance["scale"])


@pytest.mark.parametrize("ratios", [{}, {"a": 0.0}, {"a": -1.0}, {"a": math.nan}, {"a": math.inf}])
def test_what_nothing_could_fall_below_is_neither_recorded_nor_read(
    tmp_path: Path, ratios: dict[str, float]
) -> None:
    run = Outcome(benchmark="scale", figures={"ratios": ratios})
    with pytest.raises(Untold):
        Recorded().with_runs([run], {})
    file = tmp_path / "recorded.json"
    file.write_text(json.dumps({"ratios": {"scale": ratios}, "provenance": {}}))
    with pytest.raises(Untold):
        Recorded.read(file)


def test_runs_that_do_not_tell_the_same_are_not_recorded() -> None:
    runs = [Outcome(benchmark="scale", figures={"ratios": ratios}) for ratios in ({"a": 1.0}, {"b": 1.0})]
    with pytest.raises(Untold, match="the same ratios"):
        Recorded().with_runs(runs, {})
