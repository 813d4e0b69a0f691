"""No loss, no duplicates, whatever crashes: a thousand sequences of events in CI, a few hundred elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from catalog_svc.domain.sync import Lease
from tests.case_counts import IN_CI, case_count
from tests.fakes.memory_catalog import MemoryCatalog
from tests.fakes.memory_state import SyncRow
from tests.unit.catalog_svc.engine_machine import EngineMachine

# Minutes of work for one CPU in CI, and many more on a busy machine.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
THOROUGH = settings(
    max_examples=case_count(200, in_ci=500),
    stateful_step_count=40,
    derandomize=IN_CI,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
CONTROL = settings(
    THOROUGH, max_examples=1_000, derandomize=True, phases=(Phase.generate,), report_multiple_bugs=False
)


@pytest.fixture(autouse=True)
def _quiet_engine() -> Iterator[None]:
    """Disable logging: the engine logs every failure that it survives, a hundred thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_order_of_events_loses_or_duplicates_anything() -> None:
    run_state_machine_as_test(EngineMachine, settings=THOROUGH)


class Unfenced(MemoryCatalog):
    """Every former owner may write."""

    def is_owner(self, row: SyncRow, lease: Lease) -> bool:
        return True


class Unnumbered(MemoryCatalog):
    """A batch may be stored again by its own writer."""

    def is_next(self, row: SyncRow, lease: Lease) -> bool:
        return True


class Unleased(MemoryCatalog):
    """A sync may be claimed while its owner is alive; the fence alone protects."""

    def is_claimable(self, row: SyncRow) -> bool:
        return not row.sync.state.ended


@pytest.mark.parametrize("broken", [Unfenced, Unnumbered, Unleased])
def test_a_database_without_one_of_its_rules_fails(broken: type[MemoryCatalog]) -> None:
    """The negative control: the state machine can fail."""

    class BrokenMachine(EngineMachine):
        database = broken

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(BrokenMachine, settings=CONTROL)
