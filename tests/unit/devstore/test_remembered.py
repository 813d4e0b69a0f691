"""ReplyCache answers."""

from __future__ import annotations

import msgspec

from devstore.shopify.cache import CachedReply, ReplyCache


def answer(size: int, *, failed: bool = False) -> CachedReply:
    errors = [{"message": "no"}] if failed else []
    return CachedReply(data=msgspec.Raw(b'"' + b"x" * size + b'"'), errors=errors, warnings=[], points=1)


def test_an_answer_is_worked_out_once() -> None:
    remembered, made = ReplyCache(100_000), [answer(10), answer(10)]
    first = remembered.get("a", made.pop)
    assert remembered.get("a", made.pop) is first
    assert len(made) == 1


def test_the_oldest_answers_make_room() -> None:
    remembered = ReplyCache(25_000)
    first = remembered.get("a", lambda: answer(10_000))
    remembered.get("b", lambda: answer(10_000))
    remembered.get("a", lambda: answer(1))
    remembered.get("c", lambda: answer(10_000))
    assert remembered.get("a", lambda: answer(1)) is first
    assert len(memoryview(remembered.get("b", lambda: answer(1)).data)) == 3


def test_an_answer_with_errors_is_worked_out_anew() -> None:
    remembered = ReplyCache(100_000)
    remembered.get("a", lambda: answer(1, failed=True))
    assert remembered.get("a", lambda: answer(1)).errors == []
