"""Merges credentials into the TOML file of connector_svc. What is in it stays as it is, comments as well."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from catalogsync_client import ShopName

from catalogsync_cli.atomic_file import replaced_file
from catalogsync_cli.credentials.records import ShopCredentials

MODE: Final = 0o600
_HEADER: Final = re.compile(r"^\s*\[")
"""Begins a table."""


class FileInvalid(ValueError):
    """The file cannot be read or merged. The message contains no value of it."""


class Change(StrEnum):
    """What a merge does with a shop."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    DIFFERENT = "different"
    """The file has other credentials, and `replace` was not given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """The new content of the file, and what it does with each shop."""

    text: str = field(repr=False)
    changes: Mapping[ShopName, Change]


def merge(file: Path, shops: Sequence[ShopCredentials], *, replace: bool) -> Merge:
    """Return the content of the file with these credentials; the file is not written.

    Args:
        file: It need not exist.
        shops: What to add.
        replace: Whether to replace other credentials of a shop.

    Raises:
        FileInvalid: the file cannot be read, or has a form that cannot be merged.
    """
    text = _read(file)
    present = _parse(file, text)
    changes = {one.shop: _change(present, one, replace=replace) for one in shops}
    written = [one for one in shops if changes[one.shop] in (Change.ADDED, Change.REPLACED)]
    replaced = [one.shop for one in written if changes[one.shop] is Change.REPLACED]
    merged = _joined(_without(text, replaced), map(_table, written))
    expected = {**present, **{_name(one.shop): dict(one.keys) for one in written}}
    if _parse(file, merged) != expected:
        raise FileInvalid(f"{file} has tables in a form that cannot be merged: change these shops by hand")
    return Merge(text=merged, changes=changes)


def write(file: Path, merged: Merge) -> None:
    """Replace the file at once, readable by its owner alone. Raises OSError."""
    with replaced_file(file, mode=MODE) as new:
        new.write(merged.text.encode())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise FileInvalid(f"{file} is not UTF-8") from None
    except OSError as error:
        raise FileInvalid(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None


def _parse(file: Path, text: str) -> dict[tuple[str, str], Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileInvalid(f"{file}: {error}") from None
    return {
        (platform, domain.lower().removesuffix(".")): keys
        for platform, shops in document.items()
        if isinstance(shops, dict)
        for domain, keys in shops.items()
    }


def _name(shop: ShopName) -> tuple[str, str]:
    return shop.platform, shop.domain


def _change(present: Mapping[tuple[str, str], Any], one: ShopCredentials, *, replace: bool) -> Change:
    if _name(one.shop) not in present:
        return Change.ADDED
    if present[_name(one.shop)] == one.keys:
        return Change.UNCHANGED
    return Change.REPLACED if replace else Change.DIFFERENT


def _without(text: str, shops: Sequence[ShopName]) -> str:
    """Return the text without the tables of these shops."""
    headers = {_name(shop) for shop in shops}
    kept, skips = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            skips = _is_header_of(line, headers)
        if not skips:
            kept.append(line)
    return "".join(kept)


def _is_header_of(line: str, headers: set[tuple[str, str]]) -> bool:
    try:
        document = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    names = [
        (platform, domain.lower().removesuffix("."))
        for platform, shops in document.items()
        if isinstance(shops, dict)
        for domain in shops
    ]
    return len(names) == 1 and names[0] in headers


def _table(one: ShopCredentials) -> str:
    # A TOML basic string has the escapes of a JSON string.
    lines = [f"[{one.shop.platform}.{json.dumps(one.shop.domain)}]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in sorted(one.keys.items())]
    return "\n".join(lines) + "\n"


def _joined(text: str, tables: Iterable[str]) -> str:
    parts = [text.rstrip() + "\n"] if text.strip() else []
    return "\n".join([*parts, *tables])
