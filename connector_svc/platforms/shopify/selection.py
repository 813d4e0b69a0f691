"""Reads the texts of our own queries as far as their cost needs: which fields, and how many of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_TOKEN = re.compile(r'\.\.\.|\$?[A-Za-z_]\w*|-?\d+|"[^"]*"|[{}()]')


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """A field, or the fields of one type inside an abstract one."""

    name: str
    """Empty for the fields of one type."""
    on_type: str = ""
    first: int | str | None = None
    """The page size that is asked for: a number, or the name of a variable."""
    below: tuple[Selected, ...] = ()

    def child(self, name: str) -> Selected | None:
        """The field of that name directly below."""
        return next((one for one in self.below if one.name == name), None)


@cache
def selection_of(text: str) -> tuple[Selected, ...]:
    """The root fields of a document with one operation, fragments filled in.

    Knows what our queries use: no aliases, no directives, no field twice. Nested quotes must not hold braces.
    """
    return _Reader(text).roots()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._at = 0
        self._fragments: dict[str, tuple[Selected, ...]] = {}

    def roots(self) -> tuple[Selected, ...]:
        roots: tuple[Selected, ...] = ()
        while self._at < len(self._tokens):
            kind, name = self._tokens[self._at : self._at + 2]
            fields = self._definition()
            if kind == "fragment":
                self._fragments[name] = fields
            else:
                roots = fields
        return tuple(_filled(roots, self._fragments))

    def _definition(self) -> tuple[Selected, ...]:
        while self._tokens[self._at] != "{":
            if self._tokens[self._at] == "(":
                self._arguments()
            else:
                self._at += 1
        return self._fields()

    def _fields(self) -> tuple[Selected, ...]:
        self._at += 1
        found = []
        while self._tokens[self._at] != "}":
            found.append(self._spread() if self._tokens[self._at] == "..." else self._field())
        self._at += 1
        return tuple(found)

    def _spread(self) -> Selected:
        name = self._tokens[self._at + 1]
        self._at += 2
        if name != "on":
            return Selected(name="...", on_type=name)
        on_type = self._tokens[self._at]
        self._at += 1
        return Selected(name="", on_type=on_type, below=self._fields())

    def _field(self) -> Selected:
        name = self._tokens[self._at]
        self._at += 1
        first = self._arguments() if self._tokens[self._at] == "(" else None
        below = self._fields() if self._tokens[self._at] == "{" else ()
        return Selected(name=name, first=first, below=below)

    def _arguments(self) -> int | str | None:
        end = self._tokens.index(")", self._at)
        arguments = self._tokens[self._at + 1 : end]
        self._at = end + 1
        if "first" not in arguments:
            return None
        value = arguments[arguments.index("first") + 1]
        return int(value) if value.isdigit() else value.removeprefix("$")


def _filled(fields: tuple[Selected, ...], fragments: Mapping[str, tuple[Selected, ...]]) -> Iterator[Selected]:
    for field in fields:
        if field.name == "...":
            yield from _filled(fragments[field.on_type], fragments)
        else:
            below = tuple(_filled(field.below, fragments))
            yield Selected(name=field.name, on_type=field.on_type, first=field.first, below=below)
