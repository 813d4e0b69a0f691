"""Keys and secrets from settings: rotation, minimum length, and that no text contains a secret."""

from __future__ import annotations

import pytest
from catalogsync_common.auth.secret_keys import HmacKeys, InvalidKeys, ServiceSecrets, parse_pairs

OLD, PRESENT, NEXT, FOURTH = (letter * 32 for letter in "abcd")


def test_pairs_may_be_separated_by_commas_and_line_breaks() -> None:
    assert parse_pairs(f" one:{OLD} ,\n two:{PRESENT}\n,\n") == (("one", OLD), ("two", PRESENT))
    assert parse_pairs(" \n, ") == ()


def test_a_secret_may_contain_colons() -> None:
    assert parse_pairs(f"one:{OLD}:{OLD}") == (("one", f"{OLD}:{OLD}"),)


@pytest.mark.parametrize(
    "text",
    [
        "canary-canary-canary-canary-canary", ":canary-canary-canary-canary-canary", "one:canary", "one:", "one",
        f"one:{OLD},two:canary", "canary-canary-canary-canary-canary:one", f"on e:canary{OLD}", f"é:canary{OLD}",
        f"{'x' * 65}:canary{OLD}", f"one\0:canary{OLD}", "canary" * 10 + ":short",
    ],
)  # fmt: skip
@pytest.mark.parametrize("parse", [HmacKeys.parse, ServiceSecrets.parse])
def test_malformed_settings_are_refused_without_repeating_a_secret(parse: type, text: str) -> None:
    with pytest.raises(InvalidKeys) as raised:
        parse(text)
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_minimum_length_is_that_of_the_encoded_secret() -> None:
    assert parse_pairs("one:" + "é" * 16)
    with pytest.raises(InvalidKeys, match="32 bytes"):
        parse_pairs("one:" + "a" * 31)


def test_up_to_three_keys_verify_during_a_rotation() -> None:
    keys = HmacKeys.parse(f"k1:{OLD},k2:{PRESENT},k3:{NEXT}")
    assert [keys.get(kid) for kid in keys.ids] == [OLD.encode(), PRESENT.encode(), NEXT.encode()]
    assert keys.get("k4") is None
    with pytest.raises(InvalidKeys, match="more than 3"):
        HmacKeys.parse(f"k1:{OLD},k2:{PRESENT},k3:{NEXT},k4:{FOURTH}")
    with pytest.raises(InvalidKeys, match="twice"):
        HmacKeys.parse(f"k1:{OLD},k1:{PRESENT}")


def test_up_to_three_secrets_of_a_service_match_during_a_rotation() -> None:
    secrets = ServiceSecrets.parse(f"bff:{OLD},bff:{PRESENT},bff:{NEXT},other:{FOURTH}")
    assert all(secrets.matches("bff", secret) for secret in (OLD, PRESENT, NEXT))
    assert secrets.matches("other", FOURTH)
    with pytest.raises(InvalidKeys, match="more than 3"):
        ServiceSecrets.parse(f"bff:{OLD},bff:{PRESENT},bff:{NEXT},bff:{FOURTH}")


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("bff", FOURTH), ("other", OLD), ("bff", ""), ("", OLD), ("", ""), ("unknown", OLD), ("BFF", OLD),
        ("bff", OLD[:-1]),
        ("bff", OLD + "a"), ("bff", OLD.upper()), ("bff", OLD + "\0"), ("bff", f" {OLD}"), ("bff", "x" * 100_000),
        ("bff", "\udcff" * 32), ("bff", f"{OLD},{PRESENT}"), ("bff\0", OLD),
    ],
)  # fmt: skip
def test_nothing_else_matches(name: str, secret: str) -> None:
    assert not ServiceSecrets.parse(f"bff:{OLD},bff:{PRESENT},other:{FOURTH}").matches(name, secret)


def test_without_secrets_nothing_matches() -> None:
    empty = ServiceSecrets.parse("")
    assert not empty
    assert not empty.matches("", "")


def test_no_text_of_the_keys_contains_a_secret() -> None:
    for keys in (HmacKeys.parse(f"k1:{OLD}"), ServiceSecrets.parse(f"bff:{OLD}")):
        assert OLD not in f"{keys!r} {keys}"
