"""Tokens that no service may accept, by families of attacks, for any signing key and kind of principal.

Most are signed with the genuine key: a verifier that looks at less than everything accepts some of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from catalogsync_common.token_claims import (
    CLIENT_TOKEN_LIFETIME,
    OPERATOR_AUDIENCE,
    OPERATOR_ISSUER,
    OPERATOR_TOKEN_LIFETIME,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

LITERAL: Final = "@literal:"
"""Begins a claim that is written into the JSON as it stands: "@literal:1e400"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """A key with its id and its algorithm."""

    kid: str
    algorithm: str
    key: Any = field(repr=False)
    """The bytes of an HMAC key, or a private key of `cryptography`."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return jwt.PyJWS().get_algorithm_by_name(self.algorithm).sign(message, self.key)

    @property
    def public_texts(self) -> list[bytes]:
        """The texts in which everybody may have the public key; empty for an HMAC key."""
        if isinstance(self.key, bytes):
            return []
        public = self.key.public_key()
        encoding, info = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        pem = public.public_bytes(encoding.PEM, info)
        return [pem, pem.strip(), public.public_bytes(encoding.DER, info), json.dumps(self.public_jwk).encode()]

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public key as an entry of a JWKS."""
        algorithm: Any = jwt.PyJWS().get_algorithm_by_name(self.algorithm)
        return {"kid": self.kid, "use": "sig", **algorithm.to_jwk(self.key.public_key(), as_dict=True)}

    @classmethod
    def new(cls, algorithm: str, kid: str) -> Signer:
        """Return a new key of an asymmetric algorithm."""
        keys: dict[str, Any] = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        return cls(kid=kid, algorithm=algorithm, key=keys[algorithm]())


@dataclass(frozen=True, kw_only=True, slots=True)
class Forger:
    """Makes tokens of one kind of principal with one key. Without arguments `token` returns a valid one."""

    signer: Signer
    claims: Mapping[str, Any]
    lifetime: timedelta
    stranger: Signer
    """A key of the other kind of principal."""
    stranger_claims: Mapping[str, Any]
    now: int

    def token(
        self,
        header: Mapping[str, Any] | None = None,
        *,
        without: tuple[str, ...] = (),
        signer: Signer | None = None,
        **claims: Any,
    ) -> str:
        """Return a signed token with these header parameters and claims in place of the valid ones."""
        signer = signer or self.signer
        parameters = {"typ": "JWT", "alg": signer.algorithm, "kid": self.signer.kid, **(header or {})}
        chosen = {**self.claims, **claims}
        return sign_parts(
            signer,
            encode_json({name: value for name, value in parameters.items() if name not in without}),
            encode_json({name: value for name, value in chosen.items() if name not in without}),
        )


def client_forger(
    signer: Signer, operator: Signer, *, issuer: str, audience: str = "catalogsync", subject: str
) -> Forger:
    """Return a forger of clients' tokens, which knows a key of operators too."""
    now = int(datetime.now(UTC).timestamp())
    return Forger(
        signer=signer,
        claims=_claims(now, CLIENT_TOKEN_LIFETIME, aud=audience, iss=issuer, sub=subject),
        lifetime=CLIENT_TOKEN_LIFETIME,
        stranger=operator,
        stranger_claims=_claims(
            now, OPERATOR_TOKEN_LIFETIME, aud=OPERATOR_AUDIENCE, iss=OPERATOR_ISSUER, sub="tester"
        ),
        now=now,
    )


def operator_forger(
    signer: Signer, client: Signer, *, issuer: str, audience: str = "catalogsync", subject: str
) -> Forger:
    """Return a forger of operators' tokens, which knows a key of clients too; the rest is of the client."""
    reverse = client_forger(client, signer, issuer=issuer, audience=audience, subject=subject)
    return Forger(
        signer=signer,
        claims=reverse.stranger_claims,
        lifetime=OPERATOR_TOKEN_LIFETIME,
        stranger=client,
        stranger_claims=reverse.claims,
        now=reverse.now,
    )


def _claims(now: int, lifetime: timedelta, *, aud: str, iss: str, sub: str) -> dict[str, Any]:
    """Return the claims of a valid token, which has half of its lifetime left."""
    half = int(lifetime.total_seconds()) // 2
    scope = "catalog:read catalog:sync catalog:manage"
    return {"aud": aud, "iss": iss, "sub": sub, "scope": scope, "iat": now - half, "exp": now + half}


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Return the value as JSON; a text that begins with LITERAL is written as it stands."""
    parts = [
        f"{json.dumps(name)}:"
        + (one.removeprefix(LITERAL) if isinstance(one, str) and one.startswith(LITERAL) else json.dumps(one))
        for name, one in value.items()
    ]
    return f"{{{','.join(parts)}}}".encode()


def encode_part(raw: bytes) -> str:
    """Return a part of a token: base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sign_parts(signer: Signer, header: bytes, payload: bytes) -> str:
    """Return the signed token of a header and a payload."""
    signed = f"{encode_part(header)}.{encode_part(payload)}"
    return f"{signed}.{encode_part(signer.sign(signed.encode()))}"
