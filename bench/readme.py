"""`python -m bench.readme`: writes the chart and the table of targets into the README, from bench/results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.common.report import Target
from bench.common.results import Outcome, kept_outcomes
from bench.common.runner import ROOT

README = ROOT / "README.md"
BEGIN = "<!-- figures: written by `python -m bench.readme` -->"
END = "<!-- /figures -->"
_CHART = (
    "![Rows per second of whole syncs and of the writer, seconds for a slow shop, memory by size of "
    "the catalog and age of events, beside peers and limits](docs/benchmarks.svg)"
)
_UNMEASURED = "Not measured yet: `make bench`."


class NoPlace(Exception):
    """The README has no place for the figures."""


def rewritten(text: str, outcomes: Mapping[str, Outcome]) -> str:
    """The README's text with these figures between the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"README.md has no {BEGIN} followed by {END}")
    return f"{before}{BEGIN}\n{_figures(outcomes)}\n{END}{after}"


def write(outcomes: Mapping[str, Outcome], file: Path = README) -> None:
    """Rewrites the file."""
    file.write_text(rewritten(file.read_text(encoding="utf-8"), outcomes), encoding="utf-8")


def _figures(outcomes: Mapping[str, Outcome]) -> str:
    rows = [_row(name, Target.read(told)) for name, outcome in outcomes.items() for told in outcome.targets]
    if not rows:
        return _UNMEASURED
    head = ["| `make bench-` | | wanted | measured | met |", "|---|---|---:|---:|---|"]
    return "\n".join([_CHART, "", *head, *rows, "", _origin(outcomes)])


def _row(benchmark: str, target: Target) -> str:
    wanted = f"at {target.at} {_amount(target.wanted, target.unit)}"
    measured = _amount(target.value, target.unit)
    return f"| `{benchmark}` | {target.name} | {wanted} | {measured} | {'yes' if target.met else '**no**'} |"


def _amount(value: float, unit: str) -> str:
    # Three digits, and none lost before the point.
    number = f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


def _origin(outcomes: Mapping[str, Outcome]) -> str:
    origins = [outcome.figures["provenance"] for outcome in outcomes.values() if outcome.targets]

    def all_of(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    machines = all_of([f"{one['machine']['cpus']} CPUs ({one['machine']['model']})" for one in origins])
    pythons = all_of([one["machine"]["python"] for one in origins])
    names = dict.fromkeys(name for one in origins for name in one["versions"])
    versions = ", ".join(f"{name} {all_of([one['versions'][name] for one in origins])}" for name in names)
    days = all_of(sorted(one["date"] for one in origins))
    commits = all_of([one["commit"] for one in origins])
    return f"{days}, commit {commits}; {machines}; python {pythons}, {versions}."


def main() -> None:
    """Writes README.md."""
    write(kept_outcomes())


if __name__ == "__main__":
    main()
