"""Entries of the registers of known problems, and the test cases that prove each problem impossible here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PLATFORMS: Final = {
    "shopify": "Shopify",
    "woocommerce": "WooCommerce",
    "bigcommerce": "BigCommerce",
    "feed": "Custom feed",
}
CORE: Final = "Catalog and core"


@dataclass(frozen=True, slots=True)
class Entry:
    """A problem that other connectors have or that a platform causes, and how catalogsync avoids it."""

    key: str
    """Stable anchor in docs/connectors.md, such as "failure-04"."""
    problem: str
    """What goes wrong elsewhere."""
    behavior: str
    """What catalogsync does instead."""
    tests: tuple[str, ...]
    """Node ids without parameters: all cases of a test count."""

    def cases_in(self, cases: Iterable[str]) -> list[str]:
        """Return those of `cases` (node ids with parameters) that belong to a test of the entry."""
        return [case for case in cases if node_of(case) in self.tests]


class NotCollected(Exception):
    """A register names a test that does not exist."""


def node_ids(file: str, *names: str) -> tuple[str, ...]:
    """Return the node ids of tests in one file.

    Args:
        file: path below tests/, without ".py".
        names: names of tests, without "test_".
    """
    return tuple(f"tests/{file}.py::test_{name}" for name in names)


def node_of(case: str) -> str:
    """Return the node id of a case without its parameters."""
    return case.partition("[")[0]


def collect_cases(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the node ids of all cases of all tests that `entries` name, as pytest collects them.

    Raises:
        NotCollected: a test does not exist.
    """
    named = sorted({test for entry in entries for test in entry.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCollected(done.stdout + done.stderr)
    return tuple(line for line in done.stdout.splitlines() if "::" in line)


def platform_of(case: str) -> str:
    """Return the display name of the platform that a case tests, by its parameters, path or name; CORE: none."""
    path, _, name = node_of(case).partition("::")
    parameters = case.partition("[")[2]
    for platform, display_name in PLATFORMS.items():
        in_path = f"/{platform}/" in path or f"test_{platform}_" in path
        if parameters.startswith(platform) or in_path or f"_{platform}_" in name:
            return display_name
    return CORE
