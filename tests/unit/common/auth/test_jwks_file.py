"""Public keys from a file: which are refused, and that the last good ones stay in use whatever happens to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from catalogsync_common.auth.jwks_file import InvalidJwks, JwksFile
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from tests.security.forged_tokens import Signer

CHECK_SECONDS = 5.0
RSA, EC, ED = (Signer.new(algorithm, f"key-{algorithm}") for algorithm in ("RS256", "ES256", "EdDSA"))
GOOD = {"keys": [RSA.public_jwk, EC.public_jwk, ED.public_jwk]}


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Watched:
    """A file that counts how often it is looked at."""

    path: Path
    looks: list[str]

    def stat(self) -> os.stat_result:
        self.looks.append("stat")
        return self.path.stat()

    def open(self, mode: str) -> Any:
        self.looks.append("open")
        return self.path.open(mode)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Keys:
    """A JWKS file in use."""

    path: Path
    clock: Clock
    looks: list[str]
    jwks: JwksFile

    def write(self, content: object) -> None:
        """Replace the file and let the clock pass until it is looked at."""
        text = content if isinstance(content, str) else json.dumps(content)
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)
        self.clock.now += CHECK_SECONDS

    def known(self) -> set[str]:
        return {kid for kid in (RSA.kid, EC.kid, ED.kid) if self.jwks.get(kid)}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path, clock, looks = tmp_path / "jwks.json", Clock(), list[str]()
    path.write_text(json.dumps(GOOD))
    watched: Any = Watched(path, looks)
    return Keys(path, clock, looks, JwksFile(watched, monotonic=clock))


def test_each_type_of_key_has_one_algorithm(keys: Keys) -> None:
    found = [keys.jwks.get(signer.kid) for signer in (RSA, EC, ED)]
    assert [key and key.algorithm for key in found] == ["RS256", "ES256", "EdDSA"]
    assert keys.jwks.get("unknown") is None


def test_a_rotation_is_seen_within_the_interval(keys: Keys) -> None:
    keys.write({"keys": [EC.public_jwk]})
    keys.clock.now -= 0.1
    assert keys.known() == {RSA.kid, EC.kid, ED.kid}
    keys.clock.now += 0.1
    assert keys.known() == {EC.kid}
    keys.write({"keys": [EC.public_jwk, ED.public_jwk]})
    assert keys.known() == {EC.kid, ED.kid}


def test_the_keys_stay_in_use_while_the_file_is_missing(keys: Keys) -> None:
    keys.path.unlink()
    for _ in range(3_600):
        keys.clock.now += 1
        assert keys.known() == {RSA.kid, EC.kid, ED.kid}
    keys.write({"keys": [ED.public_jwk]})
    assert keys.known() == {ED.kid}


@pytest.mark.parametrize("written", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_file_that_is_written_half_changes_nothing(keys: Keys, written: float) -> None:
    text = json.dumps({"keys": [ED.public_jwk, EC.public_jwk]})
    keys.write(text[: int(len(text) * written)])
    assert keys.known() == {RSA.kid, EC.kid, ED.kid}
    # Written in place: the same inode, another size.
    keys.path.write_text(text)
    keys.clock.now += CHECK_SECONDS
    assert keys.known() == {ED.kid, EC.kid}


def test_a_failed_reload_is_logged_once_and_not_with_its_content(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    keys.write('{"keys": [{"kty": "oct", "kid": "x", "k": "canary"}]}')
    for _ in range(100):
        keys.known()
        keys.clock.now += CHECK_SECONDS
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "canary" not in caplog.text


def test_unknown_key_ids_do_not_make_it_read_the_file(keys: Keys) -> None:
    keys.looks.clear()
    for number in range(10_000):
        keys.clock.now += 30 / 10_000
        assert keys.jwks.get(f"unknown-{number}") is None
    assert set(keys.looks) == {"stat"}
    assert len(keys.looks) <= 30 / CHECK_SECONDS


def private_jwk(signer: Signer) -> dict[str, Any]:
    algorithm: Any = jwt.PyJWS().get_algorithm_by_name(signer.algorithm)
    return {"kid": signer.kid, **algorithm.to_jwk(signer.key, as_dict=True)}


def other_jwk(name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """Return a public key whose algorithm is not ours."""
    algorithm: Any = jwt.PyJWS().get_algorithm_by_name(name)
    return {"kid": "x", **algorithm.to_jwk(make().public_key(), as_dict=True)}


BAD_KEYS: dict[str, Any] = {
    "symmetric": {"kid": "x", "kty": "oct", "k": "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"},
    "private RSA": private_jwk(RSA),
    "private EC": private_jwk(EC),
    "private Ed25519": private_jwk(ED),
    "small RSA": other_jwk("RS256", lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024)),
    "P-384": other_jwk("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
    "P-521": other_jwk("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": other_jwk("ES256K", lambda: ec.generate_private_key(ec.SECP256K1())),
    "Ed448": other_jwk("EdDSA", ed448.Ed448PrivateKey.generate),
    "exponent 1": {**RSA.public_jwk, "e": "AQ"},
    "point not on the curve": {**EC.public_jwk, "x": EC.public_jwk["y"]},
    "coordinate cut": {**EC.public_jwk, "x": EC.public_jwk["x"][:-4]},
    "without coordinate": {name: value for name, value in EC.public_jwk.items() if name != "y"},
    "other algorithm": {**RSA.public_jwk, "alg": "RS512"},
    "algorithm none": {**RSA.public_jwk, "alg": "none"},
    "HMAC over RSA": {**RSA.public_jwk, "alg": "HS256"},
    "for encryption": {**RSA.public_jwk, "use": "enc"},
    "curve of another type": {**ED.public_jwk, "crv": "P-256"},
    "without kid": {name: value for name, value in RSA.public_jwk.items() if name != "kid"},
    "empty kid": {**RSA.public_jwk, "kid": ""},
    "kid as a list": {**RSA.public_jwk, "kid": ["x"]},
    "type as a list": {**RSA.public_jwk, "kty": ["RSA"]},
    "not an object": "x",
    "null": None,
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_is_not_a_public_one_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [ED.public_jwk | {"kid": "good"}, BAD_KEYS[name]]}))
    with pytest.raises(InvalidJwks) as raised:
        JwksFile(path)
    secret = BAD_KEYS[name].get("d") or BAD_KEYS[name].get("k") if isinstance(BAD_KEYS[name], dict) else None
    assert not secret or secret not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b"{", b'{"keys": {}}', b'{"keys": []}', b'{"keys": null}',
        b'{"keys": "x"}',
        b"[" * 100_000, b" " * (256 * 1024 + 1),
        json.dumps({"keys": [EC.public_jwk, ED.public_jwk | {"kid": EC.kid}]}).encode(),
        json.dumps({"keys": [EC.public_jwk | {"kid": str(number)} for number in range(17)]}).encode(),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_file_that_is_not_a_set_of_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(content)
    with pytest.raises(InvalidJwks):
        JwksFile(path)


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidJwks, match="cannot be read"):
        JwksFile(tmp_path / "none.json")
