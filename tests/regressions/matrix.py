"""Writes the matrix of docs/connectors.md from the registers and from what pytest collects.

python -m tests.regressions.matrix
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.connector_svc.faults.test_shop_faults import FAULTS, REASONS
from tests.regressions.broken import SHOPIFY, WOOCOMMERCE, Broken
from tests.regressions.experiments import EXPERIMENTS
from tests.regressions.known_failures import KNOWN_FAILURES
from tests.regressions.quirks import QUIRKS
from tests.regressions.row import Row

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "connectors.md"
BEGIN: Final = "<!-- written by tests/regressions/matrix.py: do not edit below -->"
PLATFORMS: Final = {
    "shopify": "Shopify",
    "woocommerce": "WooCommerce",
    "bigcommerce": "BigCommerce",
    "feed": "Custom feed",
}
CORE: Final = "Catalog and core"


class NotCollected(Exception):
    """A register names a test that there is none of."""


def collected() -> tuple[str, ...]:
    """Every case of every test that the registers name. Raises NotCollected."""
    named = sorted({test for row in (*KNOWN_FAILURES, *EXPERIMENTS, *QUIRKS) for test in row.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCollected(done.stdout + done.stderr)
    return tuple(line for line in done.stdout.splitlines() if "::" in line)


def page(cases: Sequence[str]) -> str:
    """The written part of the page."""
    parts = [
        BEGIN,
        "## What users complain about elsewhere",
        _table(KNOWN_FAILURES, cases),
        "## What was seen by experiment elsewhere",
        _table(EXPERIMENTS, cases),
        "## What platforms do that breaks connectors",
        _table(QUIRKS, cases),
        "## Faults of a shop\n\nEvery platform meets each of them in "
        "`tests/integration/connector_svc/faults/test_shop_faults.py`: now and then it costs no row, whatever it "
        "is; of a shop that does nothing else the pass fails with the reason named here, and the shop is never "
        "taken for empty.",
        _faults_table(),
        "## Records that cannot be understood\n\nEach of these is put through a whole sync by "
        "`tests/regressions/test_rejected_records.py`: the issue is told with its reason, field and a redacted "
        "sample of at most 200 characters, and everything else of the shop is stored.",
        _broken_table("Shopify", SHOPIFY),
        _broken_table("WooCommerce", WOOCOMMERCE),
        "## The tests\n",
        "\n".join(_named(row) for row in (*KNOWN_FAILURES, *EXPERIMENTS, *QUIRKS)),
    ]
    return "\n\n".join(parts) + "\n"


def written() -> str:
    """The page's own written part."""
    return BEGIN + PAGE.read_text(encoding="utf-8").partition(BEGIN)[2]


def column_of(case: str) -> str:
    """The platform that a case is about."""
    brackets = case.partition("[")[2]
    path = case.partition("::")[0]
    for name, shown in PLATFORMS.items():
        if brackets.startswith(name) or f"/{name}/" in path or f"test_{name}_" in path:
            return shown
    return CORE


def _table(rows: Iterable[Row], cases: Sequence[str]) -> str:
    columns = (*PLATFORMS.values(), CORE)
    lines = [f"| | Elsewhere | Here | {' | '.join(columns)} |", "|---|---|---|" + "---|" * len(columns)]
    for row in rows:
        shown = {column_of(case) for case in _cases_of(row, cases)}
        cells = " | ".join("yes" if column in shown else "-" for column in columns)
        lines.append(f"| [{row.key.partition('-')[2]}](#{row.key}) | {row.elsewhere} | {row.here} | {cells} |")
    return "\n".join(lines)


def _cases_of(row: Row, cases: Sequence[str]) -> list[str]:
    return [case for case in cases if case.partition("[")[0] in row.tests]


def _broken_table(name: str, table: Mapping[str, Broken]) -> str:
    lines = [f"| {name} | Issue | Field | What becomes of the record |", "|---|---|---|---|"]
    for what, broken in table.items():
        lines.append(f"| {what} | {broken.reason} | {broken.field or '-'} | {broken.outcome} |")
    return "\n".join(lines)


def _faults_table() -> str:
    lines = ["| Fault | Of a shop that never does anything else |", "|---|---|"]
    for name in FAULTS:
        reasons = sorted(REASONS.get(name, {"SOURCE_UNREACHABLE"}))
        lines.append(f"| {name.replace('_', ' ')} | {' or '.join(reasons)} |")
    return "\n".join(lines)


def _named(row: Row) -> str:
    listed = "\n".join(f"- `{test}`" for test in row.tests)
    return f'<a id="{row.key}"></a>**{row.key}**: {row.elsewhere}\n\n{listed}\n'


def main() -> None:
    """Writes the page anew."""
    head = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(head + page(collected()), encoding="utf-8")


if __name__ == "__main__":
    main()
