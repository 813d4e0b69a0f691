"""Finds the JSON in a store's answer, whatever plugins printed before it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
_OPENING = re.compile(rb"(?:\A|[\n>])(?:\s|\xef\xbb\xbf)*(\[\s*[{\]]|\{\s*[\"}])")
"""Where a list of records or an object begins: at the start of a line, or right after a tag."""
_NOTICE_LIMIT = 64 * 1024
"""Bytes before the JSON that are searched."""


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
    except RecursionError:
        raise NotJson from None
    except msgspec.DecodeError:
        if _is_whole(text):
            raise NotJson from None
    part = _embedded(text)
    if not _is_whole(part):
        raise CutShort
    try:
        return Parsed(read(part), noise=True)
    except msgspec.DecodeError:
        raise NotJson from None


def _embedded(text: bytes) -> bytes:
    """Everything from where JSON begins, never from a later place: inside of a body that breaks off, any inner
    list would pass for the whole. Raises NotJson when it begins nowhere."""
    found = _OPENING.search(text, 0, _NOTICE_LIMIT)
    if found is not None:
        return text[found.start(1) :]
    if text in (b"", b"[", b"{"):
        return text
    raise NotJson


def _is_whole(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
