"""Mutates genuine records at random, reproducibly by seed."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from random import Random
from typing import Any

Path = tuple[str | int, ...]
NOT_UTF8 = "\ue000not-utf-8\ue000"
"""Placeholder for bytes that are not UTF-8."""


def nested(depth: int) -> Any:
    """Return lists nested `depth` levels deep."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**53 + 1, 2**63, 2**70, -(2**70), 10**400),
    *(1.5, -0.0, -7.3, 1e300, 7.30),
    *("", " ", "0", "abc", "many", "null", "None", "true", "yes", "no", "parent", "NaN", "sNaN", "-1"),
    *("-0", "1e5", "1e999999", " 7.30 ", "7,30", "7.30 EUR", "1_000", "0x10", "\u0667.\u0663", "9" * 400),
    *("Infinity", "0." + "1" * 99),
    *("x" * 70_000, "7" * 70_000, "a\0b", "\0", "\ud800", "half \udfff", NOT_UTF8, "\U0001f600" * 600),
    *([], {}, [None], [[]], [{}], {"": None}, {"a": {"b": 1}}, nested(60), nested(300)),
    *("javascript:alert(1)", "//cdn.example/a.png", "https://", "ftp://x/y.png"),
    *("gid://shopify/Product/", "gid://shopify/Product/12a", "gid://shopify/Order/12"),
    *(f"gid://shopify/Product/{'1' * 5000}", f"gid://shopify/ProductVariant/{'1' * 5000}"),
    *("2026-02-30T00:00:00Z", "-0001-11-30T00:00:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of a record."""

    path: Path
    kind: str
    value: Any = None

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{'.'.join(map(str, self.path))}: {self.kind} {shown if len(shown) < 60 else shown[:60] + '...'}"

    def apply(self, record: Any) -> Any:
        """Return the changed record; unchanged if an earlier mutation removed the place."""
        if not self.path:
            return copy.deepcopy(self.value)
        holder = record
        try:
            for step in self.path[:-1]:
                holder = holder[step]
            self._change(holder, self.path[-1])
        except (LookupError, TypeError, ValueError):
            pass
        return record

    def _change(self, holder: Any, key: str | int) -> None:
        match self.kind:
            case "drop":
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder.insert(int(key), copy.deepcopy(holder[int(key)]))
            case "list":
                held = holder[key]
                holder[key] = list(held.values()) if isinstance(held, dict) else [held]
            case _:
                holder[key] = copy.deepcopy(self.value)


def paths_in(value: Any, above: Path = ()) -> list[Path]:
    """Return all paths of a record, including its root."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above] + [path for key, one in below for path in paths_in(one, (*above, key))]


def mutations(record: Any, random: Random) -> tuple[Mutation, ...]:
    """Return one to three mutations; most change a single value, because these find most failures."""
    return tuple(_mutation(random, paths_in(record)) for _ in range(random.choice((1, 1, 1, 2, 3))))


def _mutation(random: Random, paths: list[Path]) -> Mutation:
    path = random.choice(paths)
    kind = random.choice(("drop", "junk", "junk", "junk", "junk", "list", "repeat")) if path else "junk"
    return Mutation(path, kind, random.choice(JUNK) if kind == "junk" else None)


def mutated(record: Any, changes: tuple[Mutation, ...]) -> Any:
    """Return a copy of `record` with all of `changes`."""
    record = copy.deepcopy(record)
    for change in changes:
        record = change.apply(record)
    return record


def encoded(value: Any) -> bytes:
    """Encode as JSON, with bytes that are not UTF-8 in place of NOT_UTF8."""
    return json.dumps(value).encode().replace(json.dumps(NOT_UTF8)[1:-1].encode(), b"caf\xe9 \xff")
