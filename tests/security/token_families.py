"""All families of forged tokens; those about claims are in claim_families."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from tests.security.claim_families import NOT_TEXT, claim_types, missing_claims, subjects, times
from tests.security.forged_tokens import Forger, Signer, encode_json, encode_part, sign_parts

Family = Callable[[Forger], Iterator[str]]

_ALGORITHMS: Final[tuple[Any, ...]] = (
    "none", "None", "NONE", "nOnE", "", " ", "hs256", "Hs256", "HS256 ", " HS256", "HS256\0", "HS384", "HS512",
    "HS1",
    "rs256", "RS256", "RS384", "RS512", "PS256", "PS384", "ES256", "ES256K", "ES384", "ES512", "es256", "EdDSA",
    "eddsa", "Ed25519", "dir", "A128KW", *NOT_TEXT, ["HS256"], {"alg": "HS256"},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forged:
    """A token that must not be accepted."""

    family: str
    token: str

    @property
    def can_be_sent(self) -> bool:
        """Whether gRPC can send it as metadata, and the server receives exactly this text."""
        if not 0 < len(self.token) < 7_000:
            return False
        return self.token == self.token.strip() and all(" " <= char <= "~" for char in self.token)


def forge(forger: Forger) -> list[Forged]:
    """Return all forged tokens of all families; no two are the same."""
    tokens = {token: family for family, make in FAMILIES.items() for token in make(forger)}
    return [Forged(family, token) for token, family in tokens.items()]


def _key_ids(forger: Forger) -> Iterator[str]:
    kid = forger.signer.kid
    names: tuple[Any, ...] = (
        *NOT_TEXT, [kid], {kid: kid}, "", " ", f"{kid} ", f" {kid}", f"{kid}\n", f"{kid}\0", f"\0{kid}",
        kid.upper() + "X",
        "unknown", "0", "../../../../etc/passwd", "/dev/null", "..\\..\\keys", f"../{kid}", f"./{kid}",
        "file:///dev/null",
        "' OR '1'='1", f"{kid}' UNION SELECT 'k' --", f"{kid}; DROP TABLE shop", "$(id)", "`id`", "| id",
        "{{7*7}}",
        "${jndi:ldap://127.0.0.1/}", "%00", kid + "%00", "x" * 1_000, "x" * 4_000, "x" * 20_000, "\u202e" + kid,
        "\u04411", forger.stranger.kid + " ", "__class__", "__init__", "keys", "constructor", "__proto__",
    )  # fmt: skip
    yield forger.token(without=("kid",))
    for name in names:
        yield forger.token({"kid": name})
        yield forger.token({"kid": name}, signer=_hmac(b""))
    stranger = forger.stranger
    own = Signer(kid=stranger.kid, algorithm=forger.signer.algorithm, key=forger.signer.key)
    claimed = dict(forger.stranger_claims)
    # The key of the one kind with the claims, or the key id, of the other.
    yield forger.token(**claimed)
    yield forger.token({"kid": stranger.kid})
    yield forger.token({"kid": stranger.kid}, **claimed)
    yield forger.token(signer=stranger)
    yield forger.token(signer=stranger, **claimed)
    yield forger.token({"kid": stranger.kid}, signer=stranger)
    yield forger.token({"kid": stranger.kid, "alg": stranger.algorithm}, signer=own, **claimed)


def _algorithms(forger: Forger) -> Iterator[str]:
    for name in _ALGORITHMS:
        if name == forger.signer.algorithm:
            continue
        token = forger.token({"alg": name})
        yield token
        yield token.rpartition(".")[0] + "."
        yield token.rpartition(".")[0] + "." + encode_part(b"\0" * 32)
    yield forger.token(without=("alg",))
    for stronger in {"HS256": ("HS384", "HS512"), "RS256": ("RS384", "PS256", "RS512")}.get(
        forger.signer.algorithm, ()
    ):
        yield forger.token(signer=Signer(kid=forger.signer.kid, algorithm=stronger, key=forger.signer.key))


def _public_key_as_secret(forger: Forger) -> Iterator[str]:
    """Yield tokens with an HMAC over a public text: of the public key, or what else an attacker knows."""
    known = [forger.signer.kid.encode(), str(forger.claims["iss"]).encode(), b"catalogsync"]
    for text in (*forger.signer.public_texts, *known):
        for algorithm in ("HS256", "HS384", "HS512"):
            yield forger.token(signer=_hmac(text, algorithm))
            # The header says what the key expects, the signature is an HMAC.
            yield forger.token({"alg": forger.signer.algorithm}, signer=_hmac(text, algorithm))


def _critical_headers(forger: Forger) -> Iterator[str]:
    values: tuple[Any, ...] = (
        ["exp"],
        ["b64"],
        [],
        ["unknown"],
        [1],
        [None],
        "exp",
        "",
        None,
        {},
        True,
        0,
        ["kid", "alg"],
    )
    for crit in values:
        yield forger.token({"crit": crit})
        yield forger.token({"crit": crit, "exp": forger.claims["exp"], "unknown": 1, "b64": True})
    for b64 in (False, 0, None, "false"):
        yield forger.token({"b64": b64})
        yield forger.token({"b64": b64, "crit": ["b64"]})
    header = {"alg": forger.signer.algorithm, "kid": forger.signer.kid, "b64": False, "crit": ["b64"]}
    first, payload = encode_part(encode_json(header)), encode_json(forger.claims).decode()
    signature = encode_part(forger.signer.sign(f"{first}.{payload}".encode()))
    yield f"{first}..{signature}"
    yield f"{first}.{payload}.{signature}"


def _keys_in_headers(forger: Forger) -> Iterator[str]:
    """Yield tokens that bring the key that verifies them, or say where it can be fetched."""
    for algorithm in ("RS256", "ES256", "EdDSA"):
        attacker = _ATTACKERS[algorithm]
        jwk = attacker.public_jwk
        for header in (
            {"jwk": jwk}, {"jwk": {**jwk, "kid": forger.signer.kid}}, {"x5c": ["MIIB"]}, {"x5t": "x"},
            {"x5t#S256": "x"},
            {"jku": "https://attacker.example/jwks"}, {"jku": "file:///etc/passwd"},
            {"x5u": "https://attacker.example"},
            {"jku": "http://127.0.0.1:1/", "x5u": "http://169.254.169.254/"},
        ):  # fmt: skip
            yield forger.token(header, signer=attacker)
            yield forger.token({**header, "kid": attacker.kid}, signer=attacker)
            yield forger.token(header, signer=attacker, without=("kid",))
    octets = {"kty": "oct", "k": encode_part(b"a" * 32)}
    yield forger.token({"jwk": octets}, signer=_hmac(b"a" * 32))
    yield forger.token({"jwk": octets}, signer=_hmac(b"a" * 32), without=("kid",))


def _weak_keys(forger: Forger) -> Iterator[str]:
    for key in (b"", b"secret", b"\0" * 32, b"a" * 32, b"your-256-bit-secret", b"changeme", b"x" * 64):
        for algorithm in ("HS256", "HS384", "HS512"):
            yield forger.token(signer=_hmac(key, algorithm))
            yield forger.token(signer=_hmac(key, algorithm), without=("kid",))
    if isinstance(forger.signer.key, bytes):
        for part in (
            forger.signer.key[:6],
            forger.signer.key[:31],
            forger.signer.key + b"x",
            forger.signer.key[::-1],
        ):
            yield forger.token(signer=_hmac(part))
    else:
        other = Signer.new(forger.signer.algorithm, forger.signer.kid)
        yield forger.token(signer=other)


def _signatures(forger: Forger) -> Iterator[str]:
    token = forger.token()
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for bit in range(0, len(raw) * 8, max(1, len(raw) // 8)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield f"{signed}.{encode_part(bytes(flipped))}"
    for length in range(0, len(raw), max(1, len(raw) // 12)):
        yield f"{signed}.{encode_part(raw[:length])}"
        yield f"{signed}.{encode_part(raw[length:] + b'x' * (length + 1))}"
    for length in range(0, len(signature), 3):
        yield f"{signed}.{signature[:length]}"
    for wrong in (
        raw + raw,
        raw + b"\0",
        b"\0" + raw,
        b"\0" * len(raw),
        b"\xff" * len(raw),
        raw[::-1],
        b"\0" * 64,
    ):
        yield f"{signed}.{encode_part(wrong)}"
    # The bits that base64 leaves unused in the last character.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(raw) % 3:
        last = alphabet.index(signature[-1])
        yield f"{signed}.{signature[:-1]}{alphabet[last ^ 1]}"
    for at in range(0, len(signed), 7):
        if signed[at] != ".":
            yield f"{signed[:at]}{'A' if signed[at] != 'A' else 'B'}{signed[at + 1 :]}.{signature}"


def _structures(forger: Forger) -> Iterator[str]:
    token = forger.token()
    header, payload, signature = token.split(".")
    other = forger.token(sub="other.example").split(".")
    yield from (
        f"{header}.{other[1]}.{signature}",
        f"{other[0]}.{payload}.{other[2]}",
        f"{payload}.{header}.{signature}",
    )
    yield from (
        f"{signature}.{payload}.{header}",
        f"{header}.{signature}.{payload}",
        f"{header}.{header}.{header}",
    )
    yield from (
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        header,
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"..{signature}",
    )
    yield from (
        f".{payload}.{signature}",
        f"{header}..{signature}",
        f"{token}.",
        f".{token}",
        f"{token}.x",
        f"{token}.{token}",
    )
    yield from (
        token + token,
        f"{token},{token}",
        f"{token} {token}",
        f"Bearer {token}",
        f'"{token}"',
        token.upper(),
        token.lower(),
    )
    yield from (
        token.replace(".", ":"),
        token.replace(".", "%2E"),
        token.replace(".", "\u3002"),
        token.replace(".", ".."),
        token[::-1],
    )
    for junk in (
        " ",
        "\t",
        "\n",
        "\r\n",
        "=",
        "==",
        "!",
        "*",
        "+",
        "/",
        "\\",
        "\0",
        "\u00e9",
        "\u200b",
        "\ud800",
        "\uff41",
        "\x7f",
        "#",
        "?",
    ):
        for at in (0, 1, len(header), len(header) + 1, len(token) - len(signature), len(token) - 5, len(token)):
            yield token[:at] + junk + token[at:]
    yield json.dumps({"payload": payload, "protected": header, "signature": signature})
    yield json.dumps({"payload": payload, "signatures": [{"protected": header, "signature": signature}]})
    for jwe in (
        {"alg": "dir", "enc": "A256GCM"},
        {"alg": "RSA-OAEP", "enc": "A128GCM"},
        {"alg": "A256KW", "zip": "DEF"},
    ):
        encrypted = encode_part(encode_json({**jwe, "kid": forger.signer.kid}))
        yield f"{encrypted}..{encode_part(b'0' * 12)}.{payload}.{encode_part(b'0' * 16)}"
        yield f"{encrypted}.{encode_part(b'k' * 256)}.{encode_part(b'0' * 12)}.{payload}.{encode_part(b'0' * 16)}"


def _json_texts(forger: Forger) -> Iterator[str]:
    header = encode_json({"alg": forger.signer.algorithm, "kid": forger.signer.kid})
    payload = encode_json(forger.claims)
    for depth in (1_500, 4_000, 10_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = (opening * depth + "1" + closing * depth).encode()
            yield sign_parts(forger.signer, header, nested)
            yield sign_parts(forger.signer, nested, payload)
            yield sign_parts(forger.signer, header, payload[:-1] + b',"deep":' + (opening * depth).encode())
    for text in (
        b"", b"null", b"true", b"1", b'""', b"[]", b"{}", b"[{}]", b"{", b"}", b"\xff\xfe", b"\0", b"{'a':1}",
        b'{"a":1,}',
        payload + b"x", payload[:-1], b"x" + payload, payload.replace(b'"', b"'"), b"[" + payload + b"]",
        b'{"sub":"\xff"}',
    ):  # fmt: skip
        yield sign_parts(forger.signer, header, text)
        yield sign_parts(forger.signer, text, payload)
    for name in ("sub", "aud", "iss", "exp", "iat"):
        # The last of two members counts (RFC 7519, section 4).
        yield sign_parts(forger.signer, header, payload[:-1] + f',"{name}":null}}'.encode())
    for name in ("alg", "kid"):
        yield sign_parts(forger.signer, header[:-1] + f',"{name}":"none"}}'.encode(), payload)
    for size in (6_000, 100_000, 3_000_000):
        yield forger.token(padding="x" * size)
        yield forger.token({"padding": "x" * size})
        yield "A" * size
        yield "." * size


def _hmac(key: bytes, algorithm: str = "HS256") -> Signer:
    return Signer(kid="attacker", algorithm=algorithm, key=key)


_ATTACKERS: Final = MappingProxyType({name: Signer.new(name, "attacker") for name in ("RS256", "ES256", "EdDSA")})

FAMILIES: Final = MappingProxyType(
    {
        "key id": _key_ids,
        "algorithm": _algorithms,
        "public key as secret": _public_key_as_secret,
        "critical headers": _critical_headers,
        "keys in headers": _keys_in_headers,
        "types of claims": claim_types,
        "missing claims": missing_claims,
        "times": times,
        "weak keys": _weak_keys,
        "signatures": _signatures,
        "structure": _structures,
        "JSON": _json_texts,
        "subjects": subjects,
    }
)
