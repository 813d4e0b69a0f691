"""No analysis is lost and no late result is stored, whatever is killed. Full size: `make analysis-chaos`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.analysis.run import AnalysisConfig, run_analysis
from tests.conftest import open_directory

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]
SEED = 7
# Few places and much slow work: tasks are left until each kind of fault has happened.
CONFIG = AnalysisConfig(tasks=300, slots=(4, 8, 8, 8), slow_share=0.3, crashes=1)


async def test_no_task_is_lost_and_no_late_result_is_stored() -> None:
    with open_directory("analysis") as directory:
        report = await run_analysis(directory, CONFIG, seed=SEED)
    assert report.violations == [], report.as_json()
    assert set(report.faults) == {"kill", "stop", "replica", "crash"}
    assert report.streams["worker-0"]
    # Otherwise the fence was not needed.
    assert report.outcomes["STALE"], report.as_json()
    assert report.passed


async def test_without_the_fence_late_results_are_stored() -> None:
    with open_directory("analysis") as directory:
        report = await run_analysis(directory, replace(CONFIG, fenced=False), seed=SEED)
    assert report.stale_stored, report.as_json()
