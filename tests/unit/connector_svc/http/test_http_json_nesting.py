"""Nesting is measured outside of strings, whatever they contain."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from connector_svc.http.response_body import is_nested_deeper

_TEXTS = ("", "a", '"', "\\", '\\"', "[", "]", "{}[", '\\"[{', "\n]", "é}", '"]"')


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.random() if depth else 0.0
    if kind < 0.3:
        return chance.choice((*_TEXTS, 1, None, True))
    size = chance.randint(0, 3)
    if kind < 0.65:
        return [_value(chance, depth - 1) for _ in range(size)]
    return {chance.choice(_TEXTS): _value(chance, depth - 1) for _ in range(size)}


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize("seed", range(40))
def test_the_nesting_depth_of_any_json_is_exact(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        value = [_value(chance, 9)]
        body = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 1))).encode()
        depth = _depth(value)
        assert not is_nested_deeper(body, depth)
        assert is_nested_deeper(body, depth - 1)


@pytest.mark.parametrize(
    ("body", "deeper"),
    [
        (b"[" * 65, True),
        (b"[" * 64, False),
        (b'{"a":' * 65 + b"1", True),
        (b"\xef\xbb\xbf \n" + b"[" * 65 + b"]" * 65, True),
        (b'["' + b"[" * 100 + b'"]', False),
        (b'["\\"' + b"[" * 100 + b'"]', False),
        (b'["\\\\",' + b"[" * 100 + b"]" * 101, True),
        (b"[" + b"[],{}," * 1000 + b"1]", False),
        (b"<html>" + b"[" * 100, False),
    ],
)
def test_unclosed_and_unusual_bodies(body: bytes, deeper: bool) -> None:
    assert is_nested_deeper(body, 64) is deeper
