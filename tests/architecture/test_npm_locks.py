"""The locks of the Node packages pin every package by hash, and name no address to download it from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DIRECTORIES = ("clients/typescript", "examples/node-bff", "examples/node-protos")


def unpinned(packages: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the packages of a lock without a hash, or with an address outside of the repository."""
    for path, package in packages.items():
        is_ours = not path or "node_modules/" not in path
        if is_ours or package.get("link"):
            address = package.get("resolved", "")
            if ":" in address:
                yield path
        elif "resolved" in package or not package.get("integrity", "").startswith("sha512-"):
            yield path


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_every_package_is_pinned_by_its_hash_and_comes_from_the_registry_of_the_user(directory: str) -> None:
    lock = json.loads((ROOT / directory / "package-lock.json").read_text(encoding="utf-8"))
    assert list(unpinned(lock["packages"])) == []


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_the_lock_is_that_of_the_package(directory: str) -> None:
    """As `npm ci` checks it, which fails only at the next test run that has Node."""
    package = json.loads((ROOT / directory / "package.json").read_text(encoding="utf-8"))
    root = json.loads((ROOT / directory / "package-lock.json").read_text(encoding="utf-8"))["packages"][""]
    for field in ("name", "version", "dependencies", "devDependencies", "engines"):
        assert root.get(field) == package.get(field), field


@pytest.mark.parametrize(
    "package",
    [
        {},
        {"integrity": "sha1-x"},
        {"integrity": "sha512-x", "resolved": "https://registry.example/a.tgz"},
        {"link": True, "resolved": "git+ssh://example/a"},
    ],
)
def test_a_package_that_is_not_pinned_is_found(package: dict[str, Any]) -> None:
    assert list(unpinned({"node_modules/a": package})) == ["node_modules/a"]


def test_every_lock_of_the_repository_is_checked() -> None:
    found = {str(file.parent.relative_to(ROOT)) for top in ("clients", "examples") for file in _locks(ROOT / top)}
    assert found == set(DIRECTORIES)


def _locks(directory: Path) -> Iterator[Path]:
    return (file for file in directory.rglob("package-lock.json") if "node_modules" not in file.parts)
