"""Whether a ratio has stayed what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SHARE = 0.5
"""Of its recorded value a ratio must keep. Less would be blind, more would find what a busy machine does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """On one ratio."""

    benchmark: str
    ratio: str
    recorded: float | None
    """None: it is new."""
    measured: float | None
    """None: it has vanished."""

    @property
    def passed(self) -> bool:
        """A new ratio passes, since there is nothing to hold it against; NaN does not."""
        if self.recorded is None:
            return True
        return self.measured is not None and self.measured >= SHARE * self.recorded

    @property
    def sentence(self) -> str:
        """What was found, and what to do about it."""
        name = f"{self.benchmark}: {self.ratio}"
        if self.measured is None:
            return f"{name} is recorded and was not measured: bring it back, or {_RECORD}"
        if self.recorded is None:
            return f"{name} is new ({self.measured:.3g}) and not held against anything yet: {_RECORD}"
        compared = f"{name} is {self.measured:.3g}, recorded {self.recorded:.3g}"
        if self.passed:
            return compared
        return (
            f"{compared}, and below {SHARE:g} of that: something has become slower. `make bench-{self.benchmark}` "
            f"shows its parts; if it was meant, {_RECORD}"
        )


_RECORD = "record anew on an idle machine with `python -m bench.smoke --record`"


def judged(benchmark: str, *, measured: Mapping[str, float], recorded: Mapping[str, float]) -> list[Verdict]:
    """One verdict for each ratio that was measured or recorded."""
    return [
        Verdict(benchmark=benchmark, ratio=ratio, recorded=recorded.get(ratio), measured=measured.get(ratio))
        for ratio in {**recorded, **measured}
    ]
