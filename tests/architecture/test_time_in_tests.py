"""No test measures time or orders events by sleeping: on a busy machine such a test fails, or shows nothing.

Wait with `tests.waiting`, count instead of measuring, or run in `tests.fakes.skipping_loop`, which skips time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MAY_SLEEP = {
    "analysis/__main__.py": "picks a seed",
    "analysis/worker_process.py": "works for random times, and extends its leases in time",
    "waiting.py": "polls for conditions",
    "browser/screenshots.py": "draws a sync that runs for some seconds",
    "chaos/nemesis.py": "breaks processes at random times",
    "chaos/workload.py": "uses the system as people do, at random times",
    "chaos/recovery.py": "a benchmark of how long a recovery takes",
    "chaos/system.py": "records when events happened, for the report",
    "chaos/instance.py": "records when events happened, for the report",
    "chaos/__main__.py": "picks a seed",
    "rolling/load.py": "uses the system at a steady rate while processes are replaced",
    "rolling/lock_monitor.py": "samples the waits for locks",
    "feed/pauses.py": "breaks processes, and uses the system, at random times",
    "feed/__main__.py": "picks a seed, and reports how long an experiment took",
    "monitoring/faults.py": "freezes a process for parts of a second",
    "monitoring/test_alerts.py": "asks Prometheus what it stored during the test",
    "security/fuzz/__main__.py": "reports how many calls it makes per second",
}
"""Files that sleep or read clocks, and why."""

MIN_TIMEOUT_SECONDS = 60
SLEEPS = {"asyncio.sleep", "time.sleep"}
CLOCKS = {
    f"time.{name}{unit}" for name in ("monotonic", "perf_counter", "process_time", "time") for unit in ("", "_ns")
}
BOUNDS = {"asyncio.timeout", "pytest.mark.timeout", "until"}


def violations(source: str) -> list[str]:
    """Return the uses of time in a test file that are not allowed."""
    tree = ast.parse(source)
    names = _names(tree)
    skips = "tests.fakes.skipping_loop.skipping" in names.values()
    found: list[str] = []
    for call, skips_time in _calls(tree, skips_time=skips):
        called = _called(call, names)
        if called in SLEEPS and not _is_zero(call) and not skips_time:
            found.append(f"{call.lineno}: {called} does not order events on a busy machine")
        elif called in CLOCKS or (called.endswith("get_running_loop().time") and not skips_time):
            found.append(f"{call.lineno}: {called} measures the machine")
        elif called == "asyncio.wait_for":
            found.append(f"{call.lineno}: {called} may lose a cancel")
        elif called in BOUNDS and any(seconds < MIN_TIMEOUT_SECONDS for seconds in _seconds(call)):
            found.append(f"{call.lineno}: {called} gives less than {MIN_TIMEOUT_SECONDS} s")
    return found


def _calls(node: ast.AST, *, skips_time: bool) -> Iterator[tuple[ast.Call, bool]]:
    """Yield all calls, and whether they run in a loop that skips time: a test without the decorator does not."""
    for child in ast.iter_child_nodes(node):
        here = skips_time
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith("test_"):
            here = skips_time and any(ast.unparse(one) == "skipping" for one in child.decorator_list)
        if isinstance(child, ast.Call):
            yield child, here
        yield from _calls(child, skips_time=here)


def _names(tree: ast.AST) -> dict[str, str]:
    """Return the full names of the imported names."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
    return names


def _called(call: ast.Call, names: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(call.func).partition(".")
    full = names.get(first, first)
    return "until" if full == "tests.waiting.until" else f"{full}{dot}{rest}"


def _is_zero(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _seconds(call: ast.Call) -> Iterator[float]:
    for value in (*call.args, *(keyword.value for keyword in call.keywords)):
        if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
            yield value.value


def test_no_test_measures_time_or_orders_events_by_sleeping() -> None:
    files = {str(file.relative_to(TESTS)): file for file in TESTS.rglob("*.py")}
    found = [
        f"tests/{name}:{fault}"
        for name, file in sorted(files.items())
        if name not in MAY_SLEEP
        for fault in violations(file.read_text())
    ]
    assert found == []
    assert MAY_SLEEP.keys() <= files.keys()


SKIPPING = "from tests.fakes.skipping_loop import skipping\n"


@pytest.mark.parametrize(
    "line",
    [
        "await asyncio.sleep(0.01)",
        "await asyncio.sleep(delay)",
        "time.sleep(1)",
        "from asyncio import sleep\nasync def test_it():\n    await sleep(2)",
        "import time as clock\nassert clock.monotonic() - began < 1",
        "from time import perf_counter\nassert perf_counter() < 2",
        "assert time.time_ns() > 7",
        "assert asyncio.get_running_loop().time() < 7",
        "await asyncio.wait_for(task, 1)",
        "async with asyncio.timeout(5):\n    pass",
        "from tests.waiting import until\nawait until(ready, seconds=2)",
        SKIPPING + "async def test_it():\n    await asyncio.sleep(3)",
    ],
)
def test_each_dependency_on_time_is_found(line: str) -> None:
    assert len(violations(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "await asyncio.sleep(0)",
        "async with asyncio.timeout(60):\n    pass",
        "from tests.waiting import until\nawait until(ready)",
        "assert waited == timedelta(seconds=3)",
        SKIPPING + "@skipping\nasync def test_it():\n    await asyncio.sleep(3)",
        SKIPPING + "async def act():\n    await asyncio.sleep(3)",
    ],
)
def test_what_depends_on_no_clock_is_accepted(line: str) -> None:
    assert violations(line) == []
