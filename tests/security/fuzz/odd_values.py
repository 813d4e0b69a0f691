"""Values at and beyond the limits of each type of field."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

_TEXTS: Final = (
    "", " ", "\t", "\n", "\0", "a\0b", "\x7f", "\x1b[31mred", "\r\nX-Injected: 1", "0", "-1", "null", "NaN",
    "1e400", "true",
    "%", "_", "\\", "%s%n", "{}", "{0.__class__}", "'", '"', "' OR '1'='1", "'; DROP TABLE shop; --", "$1",
    "${jndi:ldap://x}",
    "../../etc/passwd", "<script>", "\u00e9", "e\u0301" * 40, "\u202eabc", "\ufeff", "\ufffd", "\uffff", "\u2028",
    "\U0001f600" * 70, "\U0010ffff", "\u0130stanbul.example", "\u212aelvin.example", "\u017fhop.example",
    "xn--a.example",
    "a..b", "-a.example", "a.example.", "A.EXAMPLE", "127.0.0.1", "[::1]", "0x7f.1", "169.254.169.254",
    "localhost",
    "https://a.example/", "a.example:443", "user@a.example", "a.example#.myshopify.com", "*.example",
    "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "{00000000-0000-0000-0000-000000000000}",
    "00000000000000000000000000000000", "e30", "W10", "WzEsIngiLFtdXQ", "====", "WzFd", "\u0661\u0662\u0663",
)  # fmt: skip
_LENGTHS: Final = (1, 2, 3, 63, 64, 254, 255, 256, 1_000, 10_000)
_RARE_LENGTHS: Final = (100_000, 1_000_000)
_LETTERS: Final = ("a", "%", "\\", "\u00e9", "\U0001f600", "\u0301", "\n", "'", "ab ", "1")
_SIGNED: Final = {
    FieldDescriptor.TYPE_INT32: 32, FieldDescriptor.TYPE_SINT32: 32, FieldDescriptor.TYPE_SFIXED32: 32,
    FieldDescriptor.TYPE_INT64: 64, FieldDescriptor.TYPE_SINT64: 64, FieldDescriptor.TYPE_SFIXED64: 64,
}  # fmt: skip
_UNSIGNED: Final = {
    FieldDescriptor.TYPE_UINT32: 32, FieldDescriptor.TYPE_FIXED32: 32,
    FieldDescriptor.TYPE_UINT64: 64, FieldDescriptor.TYPE_FIXED64: 64,
}  # fmt: skip
_SECONDS: Final = (0, 1, -1, 60, 59, 366 * 86_400, 315_576_000_000, -315_576_000_001, 253_402_300_799,
253_402_300_800,
                   -62_135_596_800, -62_135_596_801, 2**63 - 1, -(2**63), 1_790_000_000)  # fmt: skip
_NANOS: Final = (0, 0, 1, -1, 999_999_999, 1_000_000_000, 2**31 - 1, -(2**31))


def odd_text(random: Random) -> str:
    """Return a text: hostile, long, or of random characters."""
    kind = random.random()
    if kind < 0.08:
        return "a\0b"
    if kind < 0.6:
        return random.choice(_TEXTS)
    if kind < 0.9:
        lengths = _RARE_LENGTHS if random.random() < 0.01 else _LENGTHS
        return random.choice(_LETTERS) * random.choice(lengths)
    return "".join(_random_character(random) for _ in range(random.randint(1, 40)))


def odd_bytes(random: Random) -> bytes:
    """Return random bytes, at times many."""
    return random.randbytes(random.choice((0, 1, 2, 8, 40, 300, 5_000, 64 * 1024, 64 * 1024 + 1)))


def odd_seconds(random: Random) -> dict[str, int]:
    """Return the fields of a Timestamp or a Duration, at times outside of its range."""
    return {"seconds": random.choice(_SECONDS), "nanos": random.choice(_NANOS)}


def odd_count(random: Random) -> int:
    """Return how many elements a repeated field has."""
    kind = random.random()
    if kind < 0.9:
        return random.randint(0, 4)
    return 100_000 if kind > 0.998 else random.choice((17, 251, 1_000))


def odd_scalar(random: Random, field: FieldDescriptor) -> Any:
    """Return a value of a field that is not a message."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return odd_text(random)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return odd_bytes(random)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return random.random() < 0.5
    if field.type == FieldDescriptor.TYPE_ENUM:
        assert field.enum_type is not None
        known = [value.number for value in field.enum_type.values]
        return random.choice([*known, *known, -1, 99, 2**31 - 1, -(2**31)])
    if field.type in _SIGNED:
        top = 2 ** (_SIGNED[field.type] - 1)
        return random.choice((0, 1, -1, 2, 10, 251, 1_001, top - 1, -top, random.randrange(-top, top)))
    if field.type in _UNSIGNED:
        top = 2 ** _UNSIGNED[field.type]
        return random.choice((0, 1, top - 1, random.randrange(top)))
    return random.choice((0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf")))


def _random_character(random: Random) -> str:
    code = random.choice((random.randrange(0x20), random.randrange(0x250), random.randrange(0x10FFFF)))
    # A surrogate has no UTF-8.
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)


def odd_object(random: Random) -> dict[str, Any]:
    """Return the content of a Struct that JSON or the database may not have, or that is large or deep."""
    deep: Any = 1
    for _ in range(random.choice((5, 20, 30))):
        deep = random.choice(({"deep": deep}, [deep]))
    objects: tuple[dict[str, Any], ...] = (
        {},
        {"score": random.choice((math.nan, math.inf, -math.inf, 1e308, -0.0))},
        {random.choice(("", "\0", "\\u0000", "x" * 5_000)): "text"},
        {"text": random.choice(("\0", "\\u0000", "x" * 100_000, "\u2028\ufeff"))},
        {str(number): number for number in range(random.choice((100, 3_000)))},
        {"many": [None] * random.choice((10, 5_000))},
        {"deep": deep},
    )
    return random.choice(objects)
