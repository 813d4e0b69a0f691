"""`python -m bench.readme`: writes the table of targets into docs/performance.md, from bench/results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.common.report import Target
from bench.common.results import ROOT, BenchmarkResult, recorded_results

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN = "<!-- figures: written by `python -m bench.readme` -->"
END = "<!-- /figures -->"
_NOT_MEASURED = "Not measured yet: `make bench`."


class MarkersMissing(Exception):
    """The document lacks the comments between which the figures are written."""


def replace_figures(text: str, results: Mapping[str, BenchmarkResult]) -> str:
    """Return the document's text with the figures of the results between the markers BEGIN and END."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing(f"{DOCUMENT.name} has no {BEGIN} followed by {END}")
    return f"{before}{BEGIN}\n{_figures(results)}\n{END}{after}"


def write(results: Mapping[str, BenchmarkResult], file: Path = DOCUMENT) -> None:
    """Replace the figures in the file."""
    file.write_text(replace_figures(file.read_text(encoding="utf-8"), results), encoding="utf-8")


def _figures(results: Mapping[str, BenchmarkResult]) -> str:
    rows = [
        _row(benchmark, Target.from_json(target))
        for benchmark, result in results.items()
        for target in result.targets
    ]
    if not rows:
        return _NOT_MEASURED
    head = ["| `make bench-` | | wanted | measured | met |", "|---|---|---:|---:|---|"]
    return "\n".join([*head, *rows, "", _provenance(results)])


def _row(benchmark: str, target: Target) -> str:
    wanted = f"at {target.at} {_format_value(target.wanted, target.unit)}"
    measured = _format_value(target.value, target.unit)
    return f"| `{benchmark}` | {target.name} | {wanted} | {measured} | {'yes' if target.met else '**no**'} |"


def _format_value(value: float, unit: str) -> str:
    # Three significant digits, and all digits before the decimal point.
    number = f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


def _provenance(results: Mapping[str, BenchmarkResult]) -> str:
    """Return dates, commits, machines and versions of all results with targets, each value once."""
    origins = [result.figures["provenance"] for result in results.values() if result.targets]

    def distinct(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    machines = distinct([f"{one['machine']['cpus']} CPUs ({one['machine']['model']})" for one in origins])
    pythons = distinct([one["machine"]["python"] for one in origins])
    names = dict.fromkeys(name for one in origins for name in one["versions"])
    versions = ", ".join(f"{name} {distinct([one['versions'][name] for one in origins])}" for name in names)
    days = distinct(sorted(one["date"] for one in origins))
    commits = distinct([one["commit"] for one in origins])
    return f"{days}, commit {commits}; {machines}; python {pythons}, {versions}."


def main() -> None:
    """Write docs/performance.md."""
    write(recorded_results())


if __name__ == "__main__":
    main()
