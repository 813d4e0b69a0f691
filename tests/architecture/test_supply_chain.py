"""The lock pins every package by hash, and no version with a known vulnerability that concerns us."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECTS = (
    "pyproject.toml",
    "cli/pyproject.toml",
    "clients/python/pyproject.toml",
    "common/pyproject.toml",
    "gen/pyproject.toml",
)
MINIMUM = {
    "aiohttp": "3.14.4",  # CVE-2026-111749, CVE-2026-111750, PYSEC-2026-4369 to 4371
    "asyncpg": "0.30",
    "grpcio": "1.80",
    "protobuf": "6.33.5",  # CVE-2026-0994
    "pyjwt": "2.15.0",  # CVE-2026-102275
    "sqlalchemy": "2.0.43",
}


def locked() -> list[dict[str, Any]]:
    """Return the packages of the lock that come from a registry, and those of this repository."""
    packages: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return packages


def without_hash(packages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the packages of which a file is not pinned by its hash."""
    for package in packages:
        if "editable" in package["source"] or "virtual" in package["source"]:
            continue
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        if not files or not all(str(file.get("hash", "")).startswith("sha256:") for file in files):
            yield package["name"]


def requirements() -> Iterator[Requirement]:
    """Yield what our packages require, without groups of tools."""
    for name in PROJECTS:
        project = tomllib.loads((ROOT / name).read_text())["project"]
        extras: dict[str, list[str]] = project.get("optional-dependencies", {})
        for text in [*project.get("dependencies", ()), *(one for extra in extras.values() for one in extra)]:
            yield Requirement(text)


def test_every_file_of_the_lock_is_pinned_by_its_hash() -> None:
    assert list(without_hash(locked())) == []


@pytest.mark.parametrize(
    "files", [{}, {"sdist": {"url": "x"}}, {"wheels": [{"hash": "sha256:1"}, {"hash": "md5:1"}]}]
)
def test_a_file_without_a_hash_is_found(files: dict[str, Any]) -> None:
    package = {"name": "a", "source": {"registry": "https://pypi.org/simple"}, **files}
    assert list(without_hash([package])) == ["a"]


def test_every_package_comes_from_the_registry_or_from_here() -> None:
    sources = {tuple(package["source"].items()) for package in locked() if "registry" in package["source"]}
    assert sources == {(("registry", "https://pypi.org/simple"),)}
    others = {package["name"] for package in locked() if "registry" not in package["source"]}
    assert others == {
        "catalogsync",
        "catalogsync-bff",
        "catalogsync-cli",
        "catalogsync-client",
        "catalogsync-common",
        "catalogsync-protos",
    }


def test_no_locked_version_is_below_its_minimum() -> None:
    versions = {package["name"]: package["version"] for package in locked() if package["name"] in MINIMUM}
    assert versions.keys() >= MINIMUM.keys() - {"pyjwt"}
    assert {name: one for name, one in versions.items() if Version(one) < Version(MINIMUM[name])} == {}


def test_no_requirement_allows_a_version_below_its_minimum() -> None:
    """Whoever installs our wheels does so without our lock."""
    allowed = {
        f"{one} allows {below}"
        for one in requirements()
        if canonicalize_name(one.name) in MINIMUM
        for below in [_just_below(MINIMUM[canonicalize_name(one.name)])]
        if one.specifier.contains(below)
    }
    assert allowed == set()


def _just_below(version: str) -> str:
    """Return a version below `version`: the last one of the series before."""
    *head, last = (int(part) for part in version.split("."))
    while last == 0:
        *head, last = head
    return ".".join(map(str, [*head, last - 1, 999]))
