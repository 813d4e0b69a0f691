"""The statements that stand in the source of catalog_svc, so that none is missing among the executed ones."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from sqlalchemy import TextClause

import catalog_svc
from catalog_svc import storage

_ROOT: Final = Path(inspect.getfile(catalog_svc)).parent
_EXPRESSIONS: Final = frozenset(
    {"delete", "exists", "func", "insert", "literal_column", "select", "union_all", "update"}
)
"""Names of SQLAlchemy with which a module builds statements without writing them."""
_DRIVER: Final = frozenset({"driver_connection", "driver_of", "exec_driver_sql", "get_raw_connection"})
"""Names with which a module passes by SQLAlchemy, so that nothing is recorded."""
_DEFINITIONS: Final = "storage/tables.py"
"""The file whose texts are parts of table definitions, not statements."""


def constants() -> dict[str, TextClause]:
    """Return the statements that are constants of modules, also those within tuples, each once, by name."""
    found: dict[str, TextClause] = {}
    named: set[int] = set()
    for module in _storage_modules():
        for name, value in vars(module).items():
            for index, part in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(part, TextClause) and id(part) not in named:
                    named.add(id(part))
                    suffix = f"[{index}]" if isinstance(value, tuple) else ""
                    found[f"{module.__name__.rpartition('.')[2]}.{name}{suffix}"] = part
    return found


def built_in_functions() -> dict[str, re.Pattern[str]]:
    """Return the calls of `text` within functions, by "file:line": patterns of the texts that they make."""
    found: dict[str, re.Pattern[str]] = {}
    for file, tree in _trees():
        for function in ast.walk(tree) if file != _DEFINITIONS else ():
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and ast.unparse(node.func) == "text":
                        found[f"{file}:{node.lineno}"] = re.compile(_pattern(node.args[0]), re.DOTALL)
    return found


def users_of_text() -> set[str]:
    """Return the files that write statements as text."""
    return {file for file, tree in _trees() if "text" in _imported_from_sqlalchemy(tree)}


def users_of_core() -> set[str]:
    """Return the files that build statements by SQLAlchemy's expressions."""
    return {file for file, tree in _trees() if _EXPRESSIONS & _imported_from_sqlalchemy(tree)}


def users_of_driver() -> set[str]:
    """Return the files that execute something on the driver's own connection."""
    return {
        file
        for file, tree in _trees()
        if any(
            (isinstance(node, ast.Attribute) and node.attr in _DRIVER)
            or (isinstance(node, ast.Name) and node.id in _DRIVER)
            for node in ast.walk(tree)
        )
    }


def files_with(part: str) -> list[str]:
    """Return the files that contain this text."""
    return [str(path.relative_to(_ROOT)) for path in sorted(_ROOT.rglob("*.py")) if part in path.read_text()]


def _storage_modules() -> Iterator[ModuleType]:
    for module in sorted(pkgutil.iter_modules(storage.__path__), key=lambda module: module.name):
        if module.name != "migrations":
            yield importlib.import_module(f"{storage.__name__}.{module.name}")


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(_ROOT.rglob("*.py")):
        if "migrations" not in path.parts:
            yield str(path.relative_to(_ROOT)), ast.parse(path.read_text())


def _imported_from_sqlalchemy(tree: ast.Module) -> set[str]:
    return {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sqlalchemy"
        for name in node.names
    }


def _pattern(argument: ast.expr) -> str:
    """Return the pattern of the values of a string expression; what is not constant in it may be anything."""
    if isinstance(argument, ast.Constant):
        return re.escape(str(argument.value))
    if isinstance(argument, ast.JoinedStr):
        return "".join(_pattern(part) if isinstance(part, ast.Constant) else ".*" for part in argument.values)
    return ".*"
