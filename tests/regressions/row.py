"""A known failure of other connectors, and the tests that show it to be impossible here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One known failure or one fault seen by experiment."""

    key: str
    """Stable: "failure-04"."""
    elsewhere: str
    """What goes wrong elsewhere."""
    here: str
    """What happens instead."""
    tests: tuple[str, ...]
    """Node ids without brackets: all cases of a test count."""


def tests(file: str, *names: str) -> tuple[str, ...]:
    """Node ids of tests in one file; `names` without "test_"."""
    return tuple(f"tests/{file}.py::test_{name}" for name in names)
