"""No import cycles within a package of the repository; imports in functions and under TYPE_CHECKING count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.architecture.layers import OURS
from tests.architecture.source_tree import SourceTree

REPOSITORY = SourceTree(Path(__file__).parents[2])

KNOWN_CYCLES: frozenset[frozenset[str]] = frozenset()
"""Known cycles, each as the set of its modules. A cycle that no longer exists must be removed from here."""


def import_graph(tree: SourceTree, package: str) -> dict[str, set[str]]:
    """Map each module of `package` to the modules of the same package that it imports.

    That importing `a.b.c` also runs `a/__init__.py` is not counted: a package may re-export its own modules.
    """
    files = {tree.module_of(file): file for file in tree.files(package)}
    return {
        module: {name for one in tree.imports(file) if (name := _module_of(one.module, files))} - {module}
        for module, file in files.items()
    }


def _module_of(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that an imported name is, or is in; None for a name outside the package."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def cycles(graph: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Yield each set of modules that import one another, directly or through others."""
    reachable = {module: _reachable(graph, module) for module in graph}
    seen: set[str] = set()
    for module in graph:
        if module in seen or module not in reachable[module]:
            continue
        cycle = frozenset(other for other in reachable[module] if module in reachable[other])
        seen |= cycle
        yield cycle


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    pending = list(graph[start])
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += graph[module]
    return found


@pytest.mark.parametrize("package", [*OURS, "tests"])
def test_no_modules_of_a_package_import_one_another(package: str) -> None:
    found = set(cycles(import_graph(REPOSITORY, package)))
    known = {cycle for cycle in KNOWN_CYCLES if next(iter(cycle)).partition(".")[0] == package}
    assert sorted(map(sorted, found)) == sorted(map(sorted, known))


@pytest.mark.parametrize(
    "line",
    [
        "from devstore.b import name",
        "from devstore import b",
        "from . import b",
        "import devstore.b",
        "def f() -> None:\n    from devstore.b import name",
        "if TYPE_CHECKING:\n    from devstore.b import name",
    ],
)
def test_a_cycle_is_found_however_it_is_imported(tmp_path: Path, line: str) -> None:
    write(
        tmp_path,
        {"a": line, "b": "import devstore.c", "c": "from devstore.a import name", "d": "import devstore.a"},
    )
    graph = import_graph(SourceTree(tmp_path), "devstore")
    assert list(cycles(graph)) == [frozenset({"devstore.a", "devstore.b", "devstore.c"})]


def test_a_package_may_re_export_its_modules(tmp_path: Path) -> None:
    write(tmp_path, {"__init__": "from devstore.a import name", "a": "from devstore.b import name", "b": ""})
    assert list(cycles(import_graph(SourceTree(tmp_path), "devstore"))) == []


def write(root: Path, modules: Mapping[str, str]) -> None:
    (root / "devstore").mkdir()
    for name, source in modules.items():
        (root / "devstore" / f"{name}.py").write_text(f"{source}\n")
