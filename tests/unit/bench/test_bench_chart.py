"""The chart itself, drawn in the environment that has matplotlib; `make check` creates it and runs these tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.chart.panels import panels_of
from bench.common.results import ROOT, recorded_results

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SAMPLE_RESULTS = ROOT / "tests" / "data" / "bench"
SVG = "{http://www.w3.org/2000/svg}"

pytestmark = pytest.mark.chart


def run_chart(chart: Path, *options: str, results: Path = SAMPLE_RESULTS, seed: int = 0) -> int:
    command = [str(PYTHON), "-m", "bench.chart", "--results", str(results), "--chart", str(chart), *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)}, check=False
    ).returncode


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for seed in (1, 2):
        assert run_chart(tmp_path / f"{seed}.svg", seed=seed) == 0
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()


def test_its_text_is_not_drawn_as_paths(tmp_path: Path) -> None:
    run_chart(tmp_path / "chart.svg")
    words = {element.text for element in ElementTree.parse(tmp_path / "chart.svg").iter(f"{SVG}text")}
    assert {"raw COPY", "catalogsync", "40,000", "rows per second (more is better)"} <= words


def test_every_axis_begins_at_zero(tmp_path: Path) -> None:
    run_chart(tmp_path / "chart.svg")
    words = [element.text for element in ElementTree.parse(tmp_path / "chart.svg").iter(f"{SVG}text")]
    assert words.count("0") == len(panels_of(recorded_results(SAMPLE_RESULTS)))


def test_a_stale_chart_fails_the_check(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    assert run_chart(chart, "--check") == 1
    run_chart(chart)
    assert run_chart(chart, "--check") == 0
    chart.write_bytes(chart.read_bytes().replace(b"40,000", b"60,000"))
    assert run_chart(chart, "--check") == 1


def test_without_results_there_is_no_chart(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    chart.touch()
    assert run_chart(chart, "--check", results=tmp_path) == 1
    assert run_chart(chart, results=tmp_path) == 0
    assert not chart.exists()
    assert run_chart(chart, "--check", results=tmp_path) == 0
