"""Secrets in texts that are about to be logged.

The last line of defence: secrets should not get near a log in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

HIDDEN: Final = "***"

_MAX_DEPTH: Final = 6

_SECRET_KEY: Final = (
    r"(?:[\w.-]*(?:secret|token|passw(?:or)?d|passwd|pwd|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|consumer[_-]?key|authorization|cookie|credentials?))"
)
_IS_SECRET_KEY: Final = re.compile(_SECRET_KEY, re.IGNORECASE)

_PATTERNS: Final = (
    # user:password@ of a URL or DSN; greedy, for a password may hold an unescaped "@".
    (re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"\b(Bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\g<1> {HIDDEN}"),
    (re.compile(r"\b(Basic)\s+[A-Za-z0-9+/]{16,}=*", re.IGNORECASE), rf"\g<1> {HIDDEN}"),
    # JSON Web Tokens.
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    # Shopify's tokens and secrets, WooCommerce's keys.
    (re.compile(r"(?:(?<![A-Za-z0-9])shp[a-z]{2}|(?<![A-Za-z0-9_])c[ks])_[A-Za-z0-9_-]+"), HIDDEN),
    # key=value, key: value, "key": "value", 'key': 'value', \"key\": \"value\" escaped any number of times.
    (
        re.compile(
            rf"""(?<![\w.-])({_SECRET_KEY}\\*["']?\s*[=:]\s*)"""
            r"""(?:(?P<quote>\\*["']).*?(?<!\\)(?P=quote)|\\*["']\S*|(?!\*\*\*)[^\s,;&"'<>)}\]\\]+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """`text` with everything that looks like a secret replaced by ***."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def is_secret_key(key: str) -> bool:
    """Whether the value under such a name is a secret."""
    return _IS_SECRET_KEY.fullmatch(key) is not None


def redact_value(value: object, depth: int = 0) -> object:
    """`value` as JSON can hold it, without secrets; whatever is not JSON becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {redact(str(key)): redact_item(str(key), item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact(str(value))


def redact_item(key: str, value: object, depth: int = 0) -> object:
    """`value` as it may be logged under `key`."""
    return HIDDEN if is_secret_key(key) and value is not None else redact_value(value, depth)
