"""Keys and secrets from settings: "name:secret" pairs, separated by commas.

A name may occur several times among service secrets, and a key id once among keys: during a rotation the new one
is added, then used, and then the old one is removed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final

MIN_KEY_BYTES: Final = 32
"""RFC 7518, section 3.2: a key of HS256 has at least the size of the hash."""
MAX_KEYS: Final = 3
"""Of one kind, for rotation: the old one, the present one, the next one."""

_NO_DIGEST: Final = bytes(hashlib.sha256().digest_size)
"""Of no secret; as long as a digest, since digests of other lengths are compared in less time."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class InvalidKeys(ValueError):
    """A setting of keys is malformed; the message contains no secret."""


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Return the (name, secret) pairs of "name:secret,name:secret"; white space around them is ignored.

    Raises:
        InvalidKeys: A pair has no name or no secret, or its secret is shorter than 32 bytes.
    """
    pairs = []
    for number, part in enumerate((one.strip() for one in text.replace("\n", ",").split(",")), start=1):
        if not part:
            continue
        name, colon, secret = part.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise InvalidKeys(f'entry {number} must be "name:secret", its name of letters, digits and ". _ -"')
        if len(secret.encode()) < MIN_KEY_BYTES:
            # Without the name, which is the secret if both are interchanged.
            raise InvalidKeys(f"the secret of entry {number} must have at least {MIN_KEY_BYTES} bytes")
        pairs.append((name, secret))
    return tuple(pairs)


class HmacKeys:
    """HMAC keys by key id (`kid`). Its repr contains no key."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """Create the keys.

        Raises:
            InvalidKeys: A key id occurs twice, or there are more than three.
        """
        listed = tuple(pairs)
        self._keys: Mapping[str, bytes] = {kid: secret.encode() for kid, secret in listed}
        if len(self._keys) != len(listed):
            raise InvalidKeys("a key id occurs twice")
        if len(listed) > MAX_KEYS:
            raise InvalidKeys(f"there are more than {MAX_KEYS} keys: remove those that no longer sign")

    @classmethod
    def parse(cls, text: str) -> HmacKeys:
        """Return the keys of "kid:key,kid:key". Raises InvalidKeys."""
        return cls(parse_pairs(text))

    def __repr__(self) -> str:
        return f"HmacKeys({', '.join(self._keys)})"

    @property
    def ids(self) -> tuple[str, ...]:
        """The key ids, in the order of the setting."""
        return tuple(self._keys)

    def get(self, kid: str) -> bytes | None:
        """Return the key; None when there is none with this id."""
        return self._keys.get(kid)


class ServiceSecrets:
    """Secrets of services by name. Its repr contains no secret."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """Create the secrets.

        Raises:
            InvalidKeys: A service has more than three.
        """
        digests: dict[str, list[bytes]] = {}
        for name, secret in pairs:
            digests.setdefault(name, []).append(_digest(secret))
        for name, known in digests.items():
            if len(known) > MAX_KEYS:
                raise InvalidKeys(f"the service {name!r} has more than {MAX_KEYS} secrets")
        self._digests: Mapping[str, tuple[bytes, ...]] = {name: tuple(known) for name, known in digests.items()}

    @classmethod
    def parse(cls, text: str) -> ServiceSecrets:
        """Return the secrets of "name:secret,name:secret". Raises InvalidKeys."""
        return cls(parse_pairs(text))

    def __repr__(self) -> str:
        return f"ServiceSecrets({', '.join(self._digests)})"

    def __bool__(self) -> bool:
        return bool(self._digests)

    def matches(self, name: str, secret: str) -> bool:
        """Return whether this is a secret of the service; takes as long whether and wherever they differ."""
        given = _digest(secret)
        # An unknown name is compared, too: the time must not say which names exist.
        known = self._digests.get(name) or (_NO_DIGEST,)
        results = [hmac.compare_digest(given, one) for one in known]
        return any(results)


def _digest(secret: str) -> bytes:
    """Return a hash, so that secrets of different lengths are compared in the same time."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
