"""HTTP client of one feed: credentials, the signed manifest, and byte ranges of its files."""

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

RANGE_BYTES: Final = 4 * 1024 * 1024
"""Size of one range request: a broken connection loses no more than that, and memory holds no more."""
MAX_CLOCK_SKEW: Final = timedelta(minutes=10)
"""How far a publisher's clock may be ahead of ours."""
MANIFEST_PATH: Final = "/.well-known/catalogsync-feed.json"
MIN_SECRET_CHARACTERS: Final = 32
_MAX_ATTEMPTS: Final = 3
_RETRY_DELAY_SECONDS: Final = 0.2
"""Before a truncated manifest is requested again, since it may just be being written; doubles."""
_EARLIEST_YEAR: Final = 2000
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{1,1000}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedCredentials:
    """Credentials of one shop."""

    secrets: tuple[Secret, ...]
    """Secrets that may have signed the manifest: two while one replaces the other."""
    token: Secret | None
    """Sent as a bearer token with every request."""
    manifest_path: str

    def verify(self, text: str, signatures: Sequence[str]) -> bool:
        """Return whether one of `signatures` is the hex HMAC-SHA256 of `text` in UTF-8 with one of the secrets."""
        message = text.encode("utf-8", "surrogatepass")
        matches = False
        for secret in self.secrets:
            expected = hmac.new(secret.reveal().encode(), message, hashlib.sha256).hexdigest()
            for signature in signatures:
                matches |= hmac.compare_digest(signature.encode(), expected.encode())
        return matches


def parse_credentials(shop: Shop, credentials: Credentials) -> FeedCredentials:
    """Validate `credentials`. Raises CredentialsNotFound, which names what is missing or invalid."""
    current, previous = credentials.get("feed_secret"), credentials.get("feed_secret_previous")
    secrets = tuple(secret for secret in (current, previous) if secret is not None)
    if current is None:
        raise CredentialsNotFound(shop, "feed_secret is missing")
    if any(len(secret.reveal()) < MIN_SECRET_CHARACTERS for secret in secrets):
        raise CredentialsNotFound(shop, f"a feed secret must have {MIN_SECRET_CHARACTERS} characters or more")
    path = credentials["feed_path"].reveal() if "feed_path" in credentials else MANIFEST_PATH
    if not is_plain_path(path):
        raise CredentialsNotFound(shop, "feed_path must be an absolute path of plain characters")
    return FeedCredentials(secrets=secrets, token=credentials.get("feed_token"), manifest_path=path)


def is_plain_path(path: str) -> bool:
    """Return whether `path` is absolute, needs no escaping, and has no "." or ".." segment."""
    return bool(_PLAIN_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


class FeedClient:
    """HTTP client of one publisher for one pass."""

    def __init__(self, shop: Shop, http: ShopHttp, credentials: CredentialsProvider) -> None:
        self.shop = shop
        self._http = http
        self._provider = credentials
        self._cached_credentials: Credentials | None = None

    async def manifest(self, now: datetime) -> Manifest:
        """Return the current manifest after checking its signature, domain and validity at `now`.

        Raises SourceFailure: FeedNotTrusted, FeedInvalid or FeedStale for the manifest itself.
        """
        signed = await self._signed_manifest()
        credentials = await self._credentials()
        if not credentials.verify(signed.manifest, signed.signatures):
            # The secret may have changed after ours was cached.
            credentials = await self._credentials(refresh=True)
            if not credentials.verify(signed.manifest, signed.signatures):
                raise FeedNotTrusted(self.shop)
        return self._parse_manifest(signed.manifest, now)

    async def read_range(self, file: FeedFile, start: int) -> bytes:
        """Return up to RANGE_BYTES of `file` from `start`; all the rest where the host ignores Range headers.

        Raises:
            FileMismatch: The file is not (or no longer) the one of the manifest.
            SourceFailure: The file cannot be read.
        """
        end = min(start + RANGE_BYTES, file.bytes) - 1
        for _ in range(_MAX_ATTEMPTS):
            reply = await self._get(file.path, {"Range": f"bytes={start}-{end}", "Accept-Encoding": "identity"})
            if reply.status == 416:
                raise FileMismatch("it is shorter than its manifest says")
            if reply.status in (404, 410):
                raise FileMismatch("it does not exist")
            self._raise_for_status(reply)
            if reply.status == 206:
                body = _partial_body(reply, start, end, file.bytes)
            else:
                body = _rest_of_full_body(reply, start, file)
            if body is not None:
                return body
        raise SourceResponseInvalid(self.shop, f"a reply was truncated in {_MAX_ATTEMPTS} attempts")

    async def _signed_manifest(self) -> SignedManifest:
        for attempt in range(_MAX_ATTEMPTS):
            reply = await self._get((await self._credentials()).manifest_path, {})
            self._raise_for_status(reply)
            try:
                return msgspec.json.decode(reply.body, type=SignedManifest)
            except msgspec.ValidationError as error:
                raise FeedInvalid(self.shop, f"the signed manifest: {error}") from None
            except msgspec.DecodeError:
                await asyncio.sleep(_RETRY_DELAY_SECONDS * 2**attempt if attempt + 1 < _MAX_ATTEMPTS else 0)
        raise SourceResponseInvalid(self.shop, "the manifest is not JSON")

    def _parse_manifest(self, text: str, now: datetime) -> Manifest:
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.MsgspecError as error:
            raise FeedInvalid(self.shop, f"the manifest: {error}") from None
        if manifest.domain.lower() != self.shop.domain:
            raise FeedInvalid(self.shop, "the manifest is for another domain than this shop's")
        if not all(is_plain_path(file.path) for file in (manifest.full, *manifest.deltas)):
            raise FeedInvalid(self.shop, 'the path of a file has a "." or ".." segment')
        moments = (manifest.generated_at, *(delta.since for delta in manifest.deltas))
        if min(moment.year for moment in moments) < _EARLIEST_YEAR:
            raise FeedInvalid(self.shop, f"the manifest has a time before the year {_EARLIEST_YEAR}")
        if manifest.generated_at > now + MAX_CLOCK_SKEW:
            raise FeedStale(self.shop, "its generated_at is in the future")
        if manifest.valid_until < now:
            raise FeedStale(self.shop, f"it was valid until {manifest.valid_until.isoformat()}")
        return manifest

    async def _get(self, path: str, headers: dict[str, str]) -> HttpReply:
        """Return the reply; after a 401 the request is repeated once if there is a newer token."""
        credentials = await self._credentials()
        reply = await self._http.request("GET", path, headers={**headers, **_authorization(credentials)})
        if reply.status != 401:
            return reply
        refreshed = await self._credentials(refresh=True)
        if refreshed.token == credentials.token:
            return reply
        return await self._http.request("GET", path, headers={**headers, **_authorization(refreshed)})

    async def _credentials(self, *, refresh: bool = False) -> FeedCredentials:
        if self._cached_credentials is None or refresh:
            refused = self._cached_credentials
            self._cached_credentials = await self._provider.credentials(self.shop, refused=refused)
        return parse_credentials(self.shop, self._cached_credentials)

    def _raise_for_status(self, reply: HttpReply) -> None:
        failures: dict[int, type[SourceFailure]] = {401: SourceUnauthorized, 403: SourceForbidden}
        failures |= dict.fromkeys((404, 410), SourceNotFound)
        if reply.status not in (200, 206):
            raise failures.get(reply.status, SourceResponseInvalid)(self.shop, f"HTTP {reply.status}")


def _authorization(credentials: FeedCredentials) -> dict[str, str]:
    return {"Authorization": f"Bearer {credentials.token.reveal()}"} if credentials.token else {}


def _partial_body(reply: HttpReply, start: int, end: int, size: int) -> bytes | None:
    """Return the requested range of a 206; None when it is truncated. Raises FileMismatch for another size."""
    content_range = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    if content_range is None:
        return None
    first, last, total = map(int, content_range.groups())
    if total != size:
        raise FileMismatch(f"it has {total} bytes instead of {size}")
    is_complete = (first, last) == (start, end) and len(reply.body) == end - start + 1
    return reply.body if is_complete else None


def _rest_of_full_body(reply: HttpReply, start: int, file: FeedFile) -> bytes | None:
    """Return what follows `start` in a 200 with the whole file; None when the body is truncated.

    Raises FileMismatch for a complete body of another size.
    """
    if len(reply.body) == file.bytes:
        return reply.body[start:]
    content_length = reply.headers.get("Content-Length", "")
    if content_length.isascii() and content_length.isdigit() and len(reply.body) < int(content_length):
        return None
    raise FileMismatch(f"it has {len(reply.body)} bytes instead of {file.bytes}")
