"""What a benchmark wants of a figure, and whether it got it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from bench import report


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One wanted figure of the table in the README."""

    name: str
    value: float
    unit: str
    """"x" is a ratio of two measurements of the same run; else "s", "MB", "KB", ..."""
    wanted: float
    at: Literal["least", "most"]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From what `told` gave; whether it is met is worked out anew."""
        return cls(**{name: value for name, value in told.items() if name != "met"})

    @property
    def met(self) -> bool:
        """Whether the value is on the right side."""
        return self.value >= self.wanted if self.at == "least" else self.value <= self.wanted

    def told(self) -> dict[str, object]:
        """For the RESULT line."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "wanted": self.wanted,
            "at": self.at,
            "met": self.met,
        }


def show_targets(targets: Sequence[Target]) -> None:
    """A table of them on standard output."""
    report.show("Targets", ("", "measured", "wanted", "met"), list(map(_row, targets)))


def _row(target: Target) -> tuple[str, str, str, str]:
    wanted = f"at {target.at} {target.wanted:g} {target.unit}"
    return target.name, f"{target.value:g} {target.unit}", wanted, "yes" if target.met else "NO"
