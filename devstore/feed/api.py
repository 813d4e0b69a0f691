"""The custom feed of one shop: its publisher, which writes and signs files, and the host that serves them."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from aiohttp import web
from msgspec import json as fast_json

from devstore.catalog.catalog import Catalog
from devstore.feed.files import Json, PublishedFile, build_file, product_line, tombstone
from devstore.feed.quirks import FeedQuirk
from devstore.request_log import RequestRecord

_MANIFEST = ".well-known/catalogsync-feed.json"


class FeedApi:
    """A static file host that requires a bearer token."""

    def __init__(self, catalog: Catalog, *, quirks: set[FeedQuirk], clock: Callable[[], datetime]) -> None:
        self._token = catalog.spec.credentials["feed_token"]
        self._quirks = quirks
        self._publisher = Publisher(catalog, quirks, clock)

    @property
    def sender(self) -> None:
        """None: a feed sends no webhooks."""
        return None

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        """Return the manifest, a file or the requested range of a file."""
        record.operation = "manifest" if path == _MANIFEST else "file"
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return web.Response(status=401, text="no such token")
        if path == _MANIFEST:
            return web.Response(body=self._publisher.manifest(site), content_type="application/json")
        if FeedQuirk.FIXED_NAMES in self._quirks:
            self._publisher.manifest(site)
        body = self._publisher.files.get(path.removeprefix("feeds/"))
        if body is None:
            return web.Response(status=404, text="no such file")
        return self._file(request, body)

    def _file(self, request: web.Request, body: bytes) -> web.Response:
        if FeedQuirk.NO_RANGES in self._quirks or "Range" not in request.headers:
            return web.Response(body=body, content_type="application/octet-stream")
        requested = request.http_range
        start, end = requested.start or 0, min(requested.stop or len(body), len(body))
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}", "Accept-Ranges": "bytes"}
        return web.Response(status=206, body=body[start:end], headers=headers)


_RETAINED_FILES = 8
"""Files that are retained after newer ones were published, so that their readers can finish."""
_VALID_FOR = timedelta(hours=48)


class Publisher:
    """The merchant's job: publishes again when the catalog or a quirk has changed since the last time."""

    def __init__(self, catalog: Catalog, quirks: set[FeedQuirk], clock: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._quirks = quirks
        self._clock = clock
        self._delta_since = clock()
        self._published_ids = {row.id for row in catalog.rows()}
        self._published_state: object = None
        self._manifest = b""
        self.files: OrderedDict[str, bytes] = OrderedDict()
        """By name, the newest last."""

    def manifest(self, site: str) -> bytes:
        """Return the current signed manifest; publish first when the catalog or a quirk has changed."""
        state = (self._catalog.revision, frozenset(self._quirks), site)
        if state != self._published_state:
            # The time is taken before the first row is read: later changes belong to the next publication.
            self._manifest = self._sign(self._publish(site, self._clock()))
            self._published_state = state
        return self._manifest

    def _publish(self, site: str, now: datetime) -> Json:
        quirks, spec = self._quirks, self._catalog.spec
        generated = now + timedelta(days=1) if FeedQuirk.FUTURE in quirks else now
        manifest: Json = {
            "format": "catalogsync-feed/1",
            "domain": spec.domain,
            "shop_name": f"The shop at {spec.domain}",
            "currency": spec.currency_code,
            "generated_at": generated.isoformat(),
            "valid_until": (now + (-_VALID_FOR if FeedQuirk.STALE in quirks else _VALID_FOR)).isoformat(),
            "full": self._publish_file("full", self._full_lines(site)),
        }
        if FeedQuirk.NO_DELTAS not in quirks:
            entry = self._publish_file("delta", self._delta_lines(site))
            manifest["deltas"] = [{**entry, "since": self._delta_since.isoformat()}]
        return manifest

    def _publish_file(self, name: str, lines: list[Json]) -> Json:
        file: PublishedFile = build_file(name, lines, self._catalog.spec.feed_format, self._quirks)
        self.files[file.name] = file.body
        self.files.move_to_end(file.name)
        while len(self.files) > _RETAINED_FILES:
            self.files.popitem(last=False)
        return {"path": f"/feeds/{file.name}", **file.entry}

    def _full_lines(self, site: str) -> list[Json]:
        lines = [product_line(self._catalog, product, site) for product in self._catalog.products()]
        self._published_ids |= {int(line["id"]) for line in lines}
        # A database query without ORDER BY guarantees no order.
        Random(7).shuffle(lines)
        return self._with_quirks(lines)

    def _delta_lines(self, site: str) -> list[Json]:
        changed = (p for p in self._catalog.products() if p.updated >= self._delta_since)
        lines = [product_line(self._catalog, product, site) for product in changed]
        existing = {row.id for row in self._catalog.rows()}
        return [*lines, *map(tombstone, sorted(self._published_ids - existing))]

    def _with_quirks(self, lines: list[Json]) -> list[Json]:
        if FeedQuirk.QUOTED_NEWLINES in self._quirks:
            lines = [{**line, "description_html": 'One\n"two", three\n\nfour'} for line in lines]
        if FeedQuirk.LONG_TITLE in self._quirks:
            lines = [*lines, {"id": "long-title", "title": "x" * 70_000, "variants": []}]
        return [*lines, lines[0]] if FeedQuirk.DUPLICATE_IDS in self._quirks and lines else lines

    def _sign(self, manifest: Json) -> bytes:
        text = fast_json.encode(manifest).decode()
        secrets = [self._catalog.spec.credentials["feed_secret"]]
        if FeedQuirk.WRONG_SIGNATURE in self._quirks:
            secrets = ["a secret that nobody was ever told of"]
        if FeedQuirk.TWO_SIGNATURES in self._quirks:
            secrets = ["the secret that will be used from tomorrow on", *secrets]
        signatures = [hmac.new(s.encode(), text.encode(), hashlib.sha256).hexdigest() for s in secrets]
        return fast_json.encode({"manifest": text, "signatures": signatures})
