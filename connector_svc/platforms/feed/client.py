"""Asks the host of one feed: for its manifest, and for pieces of its files.

A shop's credentials: what proves that a feed is the merchant's, and what opens it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceResponseInvalid,
    SourceUnauthorized,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpReply, Secret, ShopHttp
from connector_svc.platforms.feed.errors import FeedInvalid, FeedNotTrusted, FeedStale, FileMismatch
from connector_svc.platforms.feed.wire import FeedFile, Manifest, SignedManifest

PIECE_BYTES: Final = 4 * 1024 * 1024
"""What one request asks for: a break costs no more than that, and memory holds no more."""
AHEAD: Final = timedelta(minutes=10)
"""How far a publisher's clock may be before ours."""
_TRIES: Final = 3
_PAUSE: Final = 0.2
"""Seconds before a manifest that broke off is read again; doubles. It may just be being written."""
_FIRST_YEAR: Final = 2000
_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)


class FeedClient:
    """HTTP to one publisher for one pass."""

    def __init__(self, shop: Shop, http: ShopHttp, credentials: CredentialsProvider) -> None:
        self.shop = shop
        self._http = http
        self._provider = credentials
        self._credentials: Credentials | None = None

    async def manifest(self, now: datetime) -> Manifest:
        """The manifest as it is published now, if it is signed, ours and of now. Raises SourceFailure."""
        signed = await self._signed_manifest()
        keys = await self._keys()
        if not keys.signed(signed.manifest, signed.signatures):
            # The secret may have been changed since ours was cached.
            keys = await self._keys(renew=True)
            if not keys.signed(signed.manifest, signed.signatures):
                raise FeedNotTrusted(self.shop)
        return self._checked(signed.manifest, now)

    async def piece(self, file: FeedFile, start: int) -> bytes:
        """Bytes of `file` from `start` on: a piece, or all that is left where the host knows no ranges.

        Raises FileMismatch when the file is not (or no longer) the manifest's, SourceFailure.
        """
        end = min(start + PIECE_BYTES, file.bytes) - 1
        for _ in range(_TRIES):
            reply = await self._get(file.path, {"Range": f"bytes={start}-{end}", "Accept-Encoding": "identity"})
            if reply.status == 416:
                raise FileMismatch("it is shorter than its manifest says")
            if reply.status in (404, 410):
                raise FileMismatch("it is not there")
            self._raise_refused(reply)
            body = _ranged(reply, start, end, file.bytes) if reply.status == 206 else _whole(reply, start, file)
            if body is not None:
                return body
        raise SourceResponseInvalid(self.shop, "an answer breaks off, each time we ask")

    async def _signed_manifest(self) -> SignedManifest:
        for attempt in range(_TRIES):
            reply = await self._get((await self._keys()).path, {})
            self._raise_refused(reply)
            try:
                return msgspec.json.decode(reply.body, type=SignedManifest)
            except msgspec.ValidationError as error:
                raise FeedInvalid(self.shop, f"the signed manifest: {error}") from None
            except msgspec.DecodeError:
                await asyncio.sleep(_PAUSE * 2**attempt if attempt + 1 < _TRIES else 0)
        raise SourceResponseInvalid(self.shop, "no JSON where its manifest should be")

    def _checked(self, text: str, now: datetime) -> Manifest:
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.MsgspecError as error:
            raise FeedInvalid(self.shop, f"the manifest: {error}") from None
        if manifest.domain.lower() != self.shop.domain:
            raise FeedInvalid(self.shop, "the manifest names another domain than this shop's")
        if not all(is_plain_path(file.path) for file in (manifest.full, *manifest.deltas)):
            raise FeedInvalid(self.shop, "the path of a file climbs out of its folder")
        moments = (manifest.generated_at, *(delta.since for delta in manifest.deltas))
        if min(moment.year for moment in moments) < _FIRST_YEAR:
            raise FeedInvalid(self.shop, f"the manifest holds a time before the year {_FIRST_YEAR}")
        if manifest.generated_at > now + AHEAD:
            raise FeedStale(self.shop, "it says that it was made in the future")
        if manifest.valid_until < now:
            raise FeedStale(self.shop, f"it was valid until {manifest.valid_until.isoformat()}")
        return manifest

    async def _get(self, path: str, headers: dict[str, str]) -> HttpReply:
        """The answer; asked again once when the token is refused and there is a newer one."""
        keys = await self._keys()
        reply = await self._http.request("GET", path, headers={**headers, **_bearer(keys)})
        if reply.status != 401:
            return reply
        renewed = await self._keys(renew=True)
        if renewed.token == keys.token:
            return reply
        return await self._http.request("GET", path, headers={**headers, **_bearer(renewed)})

    async def _keys(self, *, renew: bool = False) -> FeedKeys:
        if self._credentials is None or renew:
            refused = self._credentials
            self._credentials = await self._provider.credentials(self.shop, refused=refused)
        return keys_of(self.shop, self._credentials)

    def _raise_refused(self, reply: HttpReply) -> None:
        failures: dict[int, type[SourceFailure]] = {401: SourceUnauthorized, 403: SourceForbidden}
        failures |= dict.fromkeys((404, 410), SourceNotFound)
        if reply.status not in (200, 206):
            raise failures.get(reply.status, SourceResponseInvalid)(self.shop, f"HTTP {reply.status}")


def _bearer(keys: FeedKeys) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.token.reveal()}"} if keys.token else {}


def _ranged(reply: HttpReply, start: int, end: int, size: int) -> bytes | None:
    """The piece that was asked for; None: the answer broke off."""
    told = _RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    if told is None:
        return None
    first, last, total = map(int, told.groups())
    if total != size:
        raise FileMismatch(f"it has {total} bytes instead of {size}")
    whole = (first, last) == (start, end) and len(reply.body) == end - start + 1
    return reply.body if whole else None


def _whole(reply: HttpReply, start: int, file: FeedFile) -> bytes | None:
    """What follows `start` in the whole file; None: the answer broke off, as far as one can tell."""
    if len(reply.body) == file.bytes:
        return reply.body[start:]
    told = reply.headers.get("Content-Length", "")
    if told.isascii() and told.isdigit() and len(reply.body) < int(told):
        return None
    raise FileMismatch(f"it has {len(reply.body)} bytes instead of {file.bytes}")


WELL_KNOWN: Final = "/.well-known/catalogsync-feed.json"
SHORTEST_SECRET: Final = 32
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{1,1000}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedKeys:
    """What we hold for one shop."""

    secrets: tuple[Secret, ...]
    """Each of them may have signed: two while one replaces the other."""
    token: Secret | None
    """Sent as a bearer token with every request."""
    path: str
    """Of the manifest."""

    def signed(self, text: str, signatures: Sequence[str]) -> bool:
        """Whether one of `signatures` is the hex HMAC-SHA256 of `text` in UTF-8 with one of our secrets."""
        message = text.encode("utf-8", "surrogatepass")
        fits = False
        for secret in self.secrets:
            expected = hmac.new(secret.reveal().encode(), message, hashlib.sha256).hexdigest()
            for given in signatures:
                fits |= hmac.compare_digest(given.encode(), expected.encode())
        return fits


def keys_of(shop: Shop, credentials: Credentials) -> FeedKeys:
    """Raises CredentialsNotFound, naming what is missing or unfit."""
    named = (credentials.get("feed_secret"), credentials.get("feed_secret_previous"))
    secrets = tuple(secret for secret in named if secret is not None)
    if named[0] is None:
        raise CredentialsNotFound(shop, "feed_secret is missing")
    if any(len(secret.reveal()) < SHORTEST_SECRET for secret in secrets):
        raise CredentialsNotFound(shop, f"a feed secret must have {SHORTEST_SECRET} characters or more")
    path = credentials["feed_path"].reveal() if "feed_path" in credentials else WELL_KNOWN
    if not is_plain_path(path):
        raise CredentialsNotFound(shop, "feed_path must be an absolute path of plain characters")
    return FeedKeys(secrets=secrets, token=credentials.get("feed_token"), path=path)


def is_plain_path(path: str) -> bool:
    """Whether `path` is absolute, needs no escaping, and climbs nowhere."""
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))
