"""Which modules import what, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Import:
    """One name that one file imports."""

    file: Path
    line: int
    module: str
    """Dotted and absolute; "a.b" for "from a import b", because b may be a module."""

    def is_of(self, package: str) -> bool:
        """Return whether it is the package or something in it."""
        return self.module == package or self.module.startswith(f"{package}.")


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The Python files of the repository."""

    root: Path
    distributions: tuple[str, ...] = ("bff", "cli", "clients/python", "common")
    """Folders that hold a `pyproject.toml` of their own and, beside it, a package."""

    def files(self, layer: str) -> list[Path]:
        """Return the files of a dotted module or package name, sorted."""
        paths = (base.joinpath(*layer.split(".")) for base in (self.root, *self._bases))
        for path in paths:
            if path.with_suffix(".py").is_file():
                return [path.with_suffix(".py")]
            if path.is_dir():
                return sorted(path.rglob("*.py"))
        return []

    @property
    def _bases(self) -> tuple[Path, ...]:
        return tuple(self.root / name for name in self.distributions)

    def module_of(self, file: Path) -> str:
        """Return the dotted name of a file."""
        base = next((base for base in self._bases if file.is_relative_to(base)), self.root)
        parts = file.relative_to(base).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self, file: Path) -> Iterator[Import]:
        """Yield all imports of a file, also those in functions and under TYPE_CHECKING."""
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    yield from (Import(file, node.lineno, alias.name) for alias in names)
                case ast.ImportFrom(module=module, names=names, level=level):
                    base = self._absolute(file, module or "", level)
                    yield from (Import(file, node.lineno, f"{base}.{alias.name}") for alias in names)

    def _absolute(self, file: Path, module: str, level: int) -> str:
        if level == 0:
            return module
        package = self.module_of(file).split(".")
        if file.name != "__init__.py":
            package = package[:-1]
        return ".".join([*package[: len(package) - level + 1], *([module] if module else [])])
