"""Fuzzing campaign: many mutated payloads, and the fewest mutations that reproduce a failure."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.case_counts import case_count
from tests.unit.connector_svc.mutation.mutator import Mutation, mutated, mutations

PAYLOADS = int(os.environ.get("CATALOGSYNC_MUTATED_PAYLOADS", case_count(2_000, in_ci=5_000)))
"""Payloads per parser."""
ROUNDS = 10
"""Tests that share the payloads, so that a failure narrows them down to a tenth."""
NEIGHBOURS = 2
"""Valid records around the mutated one."""

Check = Callable[[list[Any], int], None]
"""Parses a page and checks the result; the number is the index of the mutated record. Raises AssertionError."""


@dataclass(frozen=True, slots=True)
class Page:
    """A mutated record among valid ones."""

    records: tuple[Any, ...]
    index: int
    changes: tuple[Mutation, ...]

    def check(self, check: Check, changes: tuple[Mutation, ...]) -> Exception | None:
        """Return the exception that these changes cause, if any."""
        page = list(self.records)
        page[self.index] = mutated(page[self.index], changes)
        try:
            check(page, self.index)
        except Exception as error:
            return error
        return None


def run(round_number: int, genuine: Sequence[Any], check: Check) -> None:
    """Check one round of payloads made of `genuine` records, whose ids ascend."""
    for number in range(PAYLOADS // ROUNDS):
        page = _page(genuine, Random(f"{round_number}/{number}"))
        if page.check(check, page.changes) is not None:
            _fail(f"payload {round_number}/{number}", page, check)


def _page(genuine: Sequence[Any], random: Random) -> Page:
    start = random.randrange(len(genuine) - NEIGHBOURS)
    records = tuple(genuine[start : start + NEIGHBOURS + 1])
    index = random.randrange(len(records))
    return Page(records, index, mutations(records[index], random))


def _fail(name: str, page: Page, check: Check) -> None:
    every = page.changes
    subsets = (some for size in range(len(every) + 1) for some in itertools.combinations(every, size))
    changes, error = next((some, failure) for some in subsets if (failure := page.check(check, some)) is not None)
    description = "\n".join(map(str, changes)) or "without any mutation"
    raise AssertionError(f"{name}: record {page.index} of the page\n{description}") from error
