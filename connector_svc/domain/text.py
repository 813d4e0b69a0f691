"""Texts as shops send them: how long they may be, and what no encoding can hold."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

import msgspec

MAX_TEXT: Final = 65_535
"""Characters of a title or handle; no platform's own editor takes more."""
MAX_CODE: Final = 512
"""Characters of a SKU or barcode: items are found by them, and PostgreSQL indexes no more than 2.7 kB."""

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Code: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_CODE)]

MALFORMED_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for one record that does not follow its type, is no UTF-8, or is nested without end."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def with_marked_surrogates(body: bytes) -> bytes:
    """`body` with a byte that is no UTF-8 for each escaped half of a character.

    For msgspec such a half makes the whole body malformed; a byte makes only its own record unreadable.
    """
    return _ESCAPE.sub(lambda found: b"\xff" if found[1] else found[0], body)


def is_too_long(error: Exception) -> bool:
    """Whether a text was longer than its type allows."""
    return "of length <=" in str(error)
