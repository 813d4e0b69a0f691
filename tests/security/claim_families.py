"""The families of forged tokens whose claims are wrong. All are signed with the genuine key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from catalogsync_common.token_claims import OPERATOR_AUDIENCE

from tests.security.forged_tokens import LITERAL, Forger

_YEAR_SECONDS: Final = 365 * 86_400
NOT_TEXT: Final[tuple[Any, ...]] = (None, True, False, 0, 1, 1.5, [], {}, [""], {"": ""})
_NOT_TIMES: Final[tuple[Any, ...]] = (
    None, True, False, "", "1", "soon", [], {}, [1],
    *(f"{LITERAL}{text}" for text in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e300", "9" * 4_000)),
    10**30, -(10**30), 253_402_300_800, 2**63,
)  # fmt: skip


def claim_types(forger: Forger) -> Iterator[str]:
    """Yield tokens whose iss, aud, sub or scope is of another type, or not exactly the expected text."""
    for name in ("iss", "aud", "sub"):
        valid = str(forger.claims[name])
        wrong: tuple[Any, ...] = (*NOT_TEXT, [valid], [valid, valid], ["x", valid], [[valid]], {valid: valid}, "")
        for value in wrong:
            yield forger.token(**{name: value})
    for name in ("iss", "aud"):
        valid = str(forger.claims[name])
        for text in (
            f"{valid} ", f" {valid}", valid.upper(), valid.title(), f"{valid}\0", f"{valid}\n", f"{valid},x",
            valid[:-1],
            f"{valid}x", f"x{valid}", "*", ".*", "%", str(forger.stranger_claims[name]), valid.replace("a",
            "\u0430") + "\u200b",
        ):  # fmt: skip
            wrong_text: dict[str, Any] = {name: text}
            yield forger.token(**wrong_text)
    scope = str(forger.claims["scope"])
    for value in (*NOT_TEXT, [scope], scope.split(), {scope: True}):
        yield forger.token(scope=value)


def missing_claims(forger: Forger) -> Iterator[str]:
    """Yield tokens that lack claims."""
    for name in ("exp", "iat", "sub", "aud", "iss"):
        yield forger.token(without=(name,))
        yield forger.token(without=(name,), **{name.upper(): forger.claims[name]})
        yield forger.token(without=tuple({"exp", "iat", "sub", "aud", "iss"} - {name}))
    yield forger.token(without=tuple(forger.claims))


def times(forger: Forger) -> Iterator[str]:
    """Yield tokens whose times are no times, or outside of what is allowed."""
    now, lifetime = forger.now, int(forger.lifetime.total_seconds())
    for name in ("exp", "iat", "nbf"):
        for value in _NOT_TIMES:
            yield forger.token(**{name: value})
    for ahead in (lifetime + 3_600, _YEAR_SECONDS, 100 * _YEAR_SECONDS, 1_000 * _YEAR_SECONDS):
        yield forger.token(exp=now + ahead)
        # Not valid yet.
        yield forger.token(iat=now + ahead, exp=now + ahead + 60)
        yield forger.token(nbf=now + ahead)
        # Issued long ago, for longer than allowed.
        yield forger.token(iat=now - ahead, exp=now + 60)
        # Expired.
        yield forger.token(iat=now - ahead - 60, exp=now - ahead)
    for issued, expires in (
        (now - 60, now - 60 + lifetime + 1), (now, now), (now, now - 1), (now + 60, now + 30), (now + 120,
        now + 180),
        (-1, now + 60), (0, now + 60), (-60, -1), (-lifetime, -1), (now - 60, -1), (now - 60, 0), (now - 60,
        now - 1),
        (now - 0.5, now + lifetime + 0.5), (-1e9, now + 60),
    ):  # fmt: skip
        yield forger.token(iat=issued, exp=expires)


_NO_SUBJECTS: Final = (
    "\n",
    "\0",
    "a\nb.example",
    "a\0b.example",
    "a" * 256,
    "a\u202eb",
    "\ud800",
    "a\x1b[2Jb",
    "\u200b",
)
_NO_CLIENTS: Final = (
    "merchant:", "merchant:\n", "merchant:\0", "merchant:a\nb", "merchant:\ud800", "merchant:" + "x" * 300,
    "Merchant:m1",
    "MERCHANT:m1", "merchant", "merchant/m1", " merchant:m1", "merchant :m1", "operator:x", "service:x", ":",
    "*", "*.example",
    "localhost", ".", "..", ".example", "a..example", "one.example..", "-a.example", "a-.example", "a_b.example",
    "a" * 64 + ".example", "a." * 130 + "example", "one.example\n", "one.example\r\n", "one.example\0",
    "one.example ",
    " one.example", "one.example\t", "one.example/", "one.example:443", "https://one.example", "user@one.example",
    "one.example#", "one.example?", "one%2eexample", "one.example,two.example", "one.example two.example",
    "[::1]", "::1",
    "\u043ene.example", "one\u3002example", "one\uff0eexample", "\uff4fne.example", "\u212aelvin.example",
    "\u017fhop.example", "\u0130.example", "\u0131.example",
    "one.example\u200b", "\ufeffone.example", "one\u00ad.example", "\u00df.example",
)  # fmt: skip


def subjects(forger: Forger) -> Iterator[str]:
    """Yield tokens whose sub names neither a host nor a merchant nor a person."""
    client = forger.claims["aud"] != OPERATOR_AUDIENCE
    for subject in (*_NO_SUBJECTS, *(_NO_CLIENTS if client else ())):
        yield forger.token(sub=subject)
