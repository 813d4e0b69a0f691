"""Public keys from a JWKS file (RFC 7517), read again when the file changes.

The last good set stays in use while the file is missing or invalid. Symmetric keys ("oct") are refused: one
verifier never mixes symmetric and asymmetric algorithms (CVE-2026-48526).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

LOGGER: Final = logging.getLogger(__name__)

_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""The one algorithm of each key type; the header of a token never chooses it."""
_CURVES: Final = {"EC": "P-256", "OKP": "Ed25519"}
_MIN_RSA_BITS: Final = 2048
_MAX_FILE_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 16
_CHECK_INTERVAL_SECONDS: Final = 5.0
"""The file is looked at no more often, however many unknown key ids arrive."""


class InvalidJwks(ValueError):
    """The file is not a usable JWKS; the message says why."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures."""

    algorithm: str
    key: Any
    """A public key of `cryptography`."""


class JwksFile:
    """The keys of one file by key id."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            InvalidJwks: The file cannot be used.
        """
        self._path = path
        self._monotonic = monotonic
        self._version = _version_of(path)
        self._keys = _load(path)
        self._checked_at = monotonic()

    def get(self, kid: str) -> PublicKey | None:
        """Return the key; None when the file has none with this id."""
        now = self._monotonic()
        if now - self._checked_at >= _CHECK_INTERVAL_SECONDS:
            self._checked_at = now
            self._reload_if_changed()
        return self._keys.get(kid)

    def _reload_if_changed(self) -> None:
        version = _version_of(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = _load(self._path)
        except InvalidJwks as error:
            LOGGER.error("%s: %s; the keys read before stay in use", self._path, error)
        else:
            LOGGER.info("keys read again", extra={"file": str(self._path), "key_ids": sorted(self._keys)})


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file is replaced or written; None when it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _load(path: Path) -> Mapping[str, PublicKey]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidJwks(f"cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise InvalidJwks(f"has more than {_MAX_FILE_BYTES // 1024} KiB")
    try:
        keys = json.loads(raw)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidJwks('must be JSON with a list "keys" (RFC 7517)') from None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MAX_KEYS:
        raise InvalidJwks(f"must have between 1 and {_MAX_KEYS} keys")
    loaded = dict(_parse_key(key) for key in keys)
    if len(loaded) != len(keys):
        raise InvalidJwks("two keys have the same kid")
    return loaded


def _parse_key(key: object) -> tuple[str, PublicKey]:
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not key["kid"]:
        raise InvalidJwks("each key must have a kid")
    kid, kind = key["kid"], key.get("kty")
    algorithm = _ALGORITHMS.get(kind) if isinstance(kind, str) else None
    if algorithm is None:
        raise InvalidJwks(f"key {kid!r}: kty must be one of {', '.join(_ALGORITHMS)}")
    if "d" in key:
        raise InvalidJwks(f"key {kid!r} is private: the file must have public keys only")
    if (
        key.get("use", "sig") != "sig"
        or key.get("alg", algorithm) != algorithm
        or key.get("crv") != _CURVES.get(str(kind))
    ):
        raise InvalidJwks(
            f"key {kid!r}: expected a key for signatures by RS256, ES256 with P-256, or EdDSA with Ed25519"
        )
    try:
        public = jwt.PyJWK(key, algorithm=algorithm).key
    except Exception:
        raise InvalidJwks(f"key {kid!r} is malformed") from None
    if kind == "RSA" and public.key_size < _MIN_RSA_BITS:
        raise InvalidJwks(f"key {kid!r} has less than {_MIN_RSA_BITS} bits")
    return kid, PublicKey(algorithm, public)
