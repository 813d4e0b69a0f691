"""Finds the JSON in a store's answer, whatever plugins printed before it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
_OPENING = re.compile(rb"[\[{]")
_NOTICE_LIMIT = 64 * 1024
"""Bytes before the JSON that are searched."""
_MOST_OPENINGS = 200


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A body that could be read."""

    value: T
    noise: bool
    """Whether something that is not JSON stood before it, such as notices of PHP."""


class CutShort(Exception):
    """The body begins like JSON, or is empty, and breaks off."""


class NotJson(Exception):
    """The body is something else: a web page, or JSON of another shape."""


def parse(body: bytes, read: Callable[[bytes], T]) -> Parsed[T]:
    """What `read` makes of the JSON in `body`; `read` raises msgspec's errors. Raises CutShort, NotJson."""
    text = body.removeprefix(codecs.BOM_UTF8).strip()
    try:
        return Parsed(read(text), noise=False)
    except msgspec.ValidationError:
        raise NotJson from None
    except msgspec.DecodeError:
        pass
    embedded = _embedded(text)
    if embedded is not None:
        try:
            return Parsed(read(embedded), noise=True)
        except msgspec.DecodeError:
            raise NotJson from None
    if not text or text[:1] in b"[{":
        raise CutShort
    raise NotJson


def _embedded(text: bytes) -> bytes | None:
    """The JSON that `text` ends with; a web page ends with a tag, so it is left at once."""
    if not text.endswith((b"]", b"}")):
        return None
    for number, found in enumerate(_OPENING.finditer(text, 0, _NOTICE_LIMIT)):
        if number > _MOST_OPENINGS:
            return None
        part = text[found.start() :]
        try:
            msgspec.json.decode(part, type=msgspec.Raw)
        except msgspec.DecodeError:
            continue
        return part
    return None
