"""Changes the bytes of serialized messages, and makes bytes that were never a message."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

MAX_MESSAGE_BYTES: Final = 4 << 20
"""Above this, gRPC itself refuses the message."""
_GIANT_VARINTS: Final = (
    b"\xff\xff\xff\xff\x07",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x7f",
    b"\x80" * 10 + b"\x01",
)


def mutate(random: Random, raw: bytes) -> bytes:
    """Return the bytes after one to four changes."""
    for _ in range(random.randint(1, 4)):
        raw = random.choice(_MUTATIONS)(random, raw)
    return raw


def noise(random: Random) -> bytes:
    """Return bytes that are no request: random ones, nested groups, unknown fields, too many bytes."""
    kind = random.random()
    if kind < 0.5:
        return random.randbytes(random.randint(0, 200))
    if kind < 0.6:
        return bytes([(random.randint(1, 15) << 3) | 3]) * random.choice((1, 50, 99, 101, 5_000))
    if kind < 0.7:
        return b"\x0a" * random.choice((1, 100, 5_000))
    if kind < 0.9:
        return b"".join(_field(random) for _ in range(random.randint(1, 30)))
    if kind < 0.995:
        return bytes([random.randrange(256)]) * random.randint(1, 3_000)
    return b"\x0a" * random.choice((1 << 20, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1))


def _field(random: Random) -> bytes:
    """Return a field of any number and wire type, at times malformed."""
    number, wire_type = random.choice((0, 1, 2, 3, 4, 5, 15)), random.randrange(8)
    contents: dict[int, Callable[[], bytes]] = {
        0: lambda: random.choice((b"\0", b"\x01", *_GIANT_VARINTS)),
        1: lambda: random.randbytes(8),
        2: lambda: random.choice((b"\0", b"\x03\xff\xfe\xfd", b"\x04abcd", *_GIANT_VARINTS)),
        5: lambda: random.randbytes(4),
    }
    make = contents.get(wire_type)
    return bytes([(number << 3) | wire_type]) + (make() if make else b"")


def _flip_bit(random: Random, raw: bytes) -> bytes:
    if not raw:
        return raw
    at = random.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << random.randrange(8))]) + raw[at + 1 :]


def _truncate(random: Random, raw: bytes) -> bytes:
    return raw[: random.randint(0, len(raw))]


def _insert(random: Random, raw: bytes) -> bytes:
    at = random.randint(0, len(raw))
    return raw[:at] + random.randbytes(random.randint(1, 6)) + raw[at:]


def _remove(random: Random, raw: bytes) -> bytes:
    at = random.randint(0, len(raw))
    return raw[:at] + raw[at + random.randint(1, 6) :]


def _repeat(random: Random, raw: bytes) -> bytes:
    return raw[: random.randint(0, len(raw))] + raw if len(raw) < 100_000 else raw


def _change_wire_type(random: Random, raw: bytes) -> bytes:
    """Change the wire type of the first field."""
    return bytes([raw[0] & 0xF8 | random.randrange(8)]) + raw[1:] if raw else raw


def _lengthen(random: Random, raw: bytes) -> bytes:
    """Replace the length of the first field by one that is far too large."""
    return raw[:1] + random.choice(_GIANT_VARINTS) + raw[2:]


def _append_field(random: Random, raw: bytes) -> bytes:
    return raw + _field(random)


_MUTATIONS: Final[tuple[Callable[[Random, bytes], bytes], ...]] = (
    _flip_bit, _truncate, _insert, _remove, _repeat, _change_wire_type, _lengthen, _append_field,
)  # fmt: skip
