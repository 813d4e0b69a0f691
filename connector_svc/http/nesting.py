"""How deep the JSON of an answer is nested, found out before a parser goes down into it.

Every answer passes here whole, so each step is one pass of C over it: a pattern that walks over the strings took a
third of what a product costs.
"""

from __future__ import annotations

from typing import Final

_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))


def is_nested_deeper(body: bytes, levels: int) -> bool:
    """Whether `body`, if it begins like JSON, is nested deeper than so many levels; broken JSON counts too."""
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"[", b"{")):
        return False
    brackets = _brackets(text)
    if brackets.count(b"[") <= levels:
        return False
    for _ in range(levels):
        inner = brackets
        brackets = inner.replace(b"[]", b"")
        if len(brackets) == len(inner):
            break
    # Whatever is left is still nested, or was never closed.
    return b"[]" in brackets or brackets.count(b"[") > levels


def _brackets(text: bytes) -> bytes:
    """Those outside of strings, of one kind."""
    if text.rfind(b'\\"') >= 0:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(_ONE_KIND, _NO_MARKS)
    # Quotes side by side change nothing about what stands inside of a string and what does not.
    few = marks.replace(b'""""', b"").replace(b'""', b"")
    return b"".join(few.split(b'"')[::2])
