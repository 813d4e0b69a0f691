"""Many mutated payloads, and the fewest mutations that show a fault."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.thoroughness import cases
from tests.unit.connector_svc.mutation.mutator import Mutation, mutated, mutations

PAYLOADS = int(os.environ.get("CATALOGSYNC_MUTATED_PAYLOADS", cases(2_000, in_ci=10_000)))
"""Of each parser."""
ROUNDS = 10
"""Tests that share them, so that a failure names a tenth."""
NEIGHBOURS = 2
"""Sound records on both sides of the mutated one."""

Check = Callable[[list[Any], int], None]
"""Puts a page through a parser; the number is the place of the mutated record. Raises AssertionError."""


@dataclass(frozen=True, slots=True)
class Page:
    """A mutated record between sound ones."""

    records: tuple[Any, ...]
    place: int
    changes: tuple[Mutation, ...]

    def check(self, check: Check, changes: tuple[Mutation, ...]) -> Exception | None:
        """What goes wrong with these changes."""
        page = list(self.records)
        page[self.place] = mutated(page[self.place], changes)
        try:
            check(page, self.place)
        except Exception as error:
            return error
        return None


def run(round_number: int, genuine: Sequence[Any], check: Check) -> None:
    """One round of payloads made of `genuine` records, whose ids grow."""
    for number in range(PAYLOADS // ROUNDS):
        page = _page(genuine, Random(f"{round_number}/{number}"))
        if page.check(check, page.changes) is not None:
            _fail(f"payload {round_number}/{number}", page, check)


def _page(genuine: Sequence[Any], random: Random) -> Page:
    start = random.randrange(len(genuine) - NEIGHBOURS)
    records = tuple(genuine[start : start + NEIGHBOURS + 1])
    place = random.randrange(len(records))
    return Page(records, place, mutations(records[place], random))


def _fail(name: str, page: Page, check: Check) -> None:
    every = page.changes
    subsets = (some for size in range(len(every) + 1) for some in itertools.combinations(every, size))
    changes, error = next((some, fault) for some in subsets if (fault := page.check(check, some)) is not None)
    told = "\n".join(map(str, changes)) or "without any mutation"
    raise AssertionError(f"{name}: record {page.place} of the page\n{told}") from error
