"""What became of the tasks of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from bench.common.measure import percentile
from tests.analysis.journal import Findings

TARGET_SECONDS: Final = 5.0
"""From a fault to the next stored result."""
_NEVER: Final = ("lost", "left_open", "stale_stored", "not_granted", "doubled", "wrong_items", "wrong_counters",
                 "unstored")  # fmt: skip
"""Findings that must be zero."""


@dataclass(kw_only=True)
class AnalysisReport:
    """The faults of a run, and what was found at its end."""

    fenced: bool
    seed: int
    slots: Mapping[str, int]
    """Of each worker: its max_in_flight."""
    faults: Counter[str] = field(default_factory=Counter)
    """Numbers of "kill", "stop", "replica" and "crash"."""
    requeued: int = 0
    """Images that were queued again while a stopped worker held an earlier task of theirs."""
    streams: dict[str, int] = field(default_factory=dict)
    """Streams that each worker has opened."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Answers to results."""
    recovery: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until the next stored result after each fault beside which enough tasks waited, by its kind."""
    seconds: float = 0
    """From the first lease to the last result."""
    findings: Findings | None = None
    violations: list[str] = field(default_factory=list)

    def conclude(self, findings: Findings) -> None:
        """Add what the journal says."""
        self.findings = findings
        values = asdict(findings)
        self.violations += [f"{name}: {values[name]}" for name in _NEVER if values[name]]
        for worker, held in findings.held.items():
            if held.at_grant > self.slots[worker]:
                self.violations.append(f"{worker} held {held.at_grant} leases of {self.slots[worker]}")

    @property
    def stale_stored(self) -> int:
        """Results that were stored although their lease was superseded."""
        return self.findings.stale_stored if self.findings else 0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong though results came late; without the fence, whether stale ones are stored."""
        if not self.fenced:
            return self.stale_stored > 0
        return not self.violations and self.outcomes["STALE"] > 0

    def as_json(self) -> str:
        """Return the report as one line of JSON."""
        values = asdict(replace(self, faults=Counter(), outcomes=Counter()))
        values["faults"], values["outcomes"] = dict(self.faults), dict(self.outcomes)
        values["recovery"] = {kind: _summary(seconds) for kind, seconds in self.recovery.items()}
        return json.dumps({**values, "passed": self.passed})

    def lines(self) -> list[str]:
        """Return the most important figures as text."""
        assert self.findings is not None
        found = self.findings
        count = found.counts
        return [
            f"analysis ({'fenced' if self.fenced else 'without the fence'}): {found.images} images, "
            f"{count.get('made', 0)} tasks made ({self.requeued} queued again), {count.get('granted', 0)} leases, "
            f"{count.get('stored', 0)} results stored in {self.seconds:.0f} s",
            f"faults: {self.faults['kill']} kills of workers, {self.faults['stop']} stops beyond the lease, "
            f"{self.faults['replica']} kills of replicas, {self.faults['crash']} stops of PostgreSQL",
            f"answers: {dict(sorted(self.outcomes.items()))}",
            f"lost: {found.lost}; left open: {found.left_open}; dead: {found.dead}; "
            f"stale results stored: {found.stale_stored}; tasks with two results: {found.doubled}; "
            f"answered with STORED and not stored: {found.unstored}",
            *(
                f"{worker}: max_in_flight {self.slots[worker]}, held at most {held.at_grant} at a lease "
                f"({held.at_extension} at an extension), {self.streams.get(worker, 0)} streams"
                for worker, held in sorted(found.held.items())
            ),
            *(
                f"next result after {kind}: {_summary(values)}, target {TARGET_SECONDS:g} s"
                for kind, values in sorted(self.recovery.items())
            ),
        ]


def _summary(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "p50": round(percentile(ordered, 50), 2),
        "max": round(ordered[-1], 2),
        "above_target": sum(value > TARGET_SECONDS for value in ordered),
    }
