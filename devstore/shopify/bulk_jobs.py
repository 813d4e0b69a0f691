"""The bulk operations of one shop.

Serves results of bulk operations: no token, a signature in the query, and ranges."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from graphql import GraphQLError, GraphQLSchema

from devstore.shopify.bulk_query import BulkQueryRunner, ResultRow
from devstore.shopify.bulk_result import InterleavedOrder, adjacent
from devstore.shopify.context import RequestContext
from devstore.shopify.quirks import BulkSwitches
from devstore.shopify.scalars import format_datetime, gid

MAX_ACTIVE_JOBS = 5
_FIRST_ID = 5_000_000_000_000
ENDED = {"COMPLETED", "FAILED", "CANCELED", "EXPIRED"}


@dataclass(slots=True, kw_only=True, eq=False)
class BulkJob:
    """One job; what it has found so far, and where it stands now."""

    id: str
    query: str
    switches: BulkSwitches
    grouped: bool = False
    is_other: bool = False
    """Somebody else's: runs until it is told to end."""
    clock: Callable[[], float] = time.monotonic
    lines: list[bytes] = field(default_factory=list)
    roots: int = 0
    lost: int = 0
    """Root objects that are missing without a word, also from the counts."""
    error: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = 0.0
    cancelled_at: float | None = None
    is_expired: bool = False
    is_executed: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def status(self) -> str:
        """As BulkOperationStatus."""
        passed = self.clock() - self.began
        if self.cancelled_at is not None:
            done = self.clock() - self.cancelled_at >= self.switches.cancel_seconds
            return "CANCELED" if done else "CANCELING"
        if self.is_expired:
            return "EXPIRED"
        if passed < self.switches.seconds / 10:
            return "CREATED"
        if self.is_other or self.switches.stalls or not self.is_executed or passed < self.switches.seconds:
            return "RUNNING"
        return "FAILED" if self.error else "COMPLETED"

    @property
    def object_count(self) -> int:
        """Rows so far; lags while it runs."""
        return self._shown(len(self.lines))

    @property
    def root_count(self) -> int:
        """Root objects so far; lags while it runs."""
        return self._shown(self.roots)

    @property
    def body(self) -> bytes:
        """The result of a completed job, or the rows before the failure."""
        lines = self.lines[: len(self.lines) // 2] if self.error else self.lines
        return b"".join(line + b"\n" for line in lines)

    def cancel(self) -> None:
        """Tells it to end."""
        self.cancelled_at = self.clock()

    def _shown(self, count: int) -> int:
        status = self.status
        if status == "CREATED":
            return 0
        if status in ENDED:
            return count
        if self.switches.stalls:
            return count // 2
        share = min(1.0, (self.clock() - self.began) / self.switches.seconds) if self.switches.seconds else 1.0
        return max(0, int(count * share) - self.switches.counts_lag)


class BulkJobs:
    """Starts, finds and ends jobs. Results are held in memory until the shop closes."""

    def __init__(self, *, field_resolver: Callable[..., Any], type_resolver: Callable[..., Any]) -> None:
        self.switches = BulkSwitches()
        self.jobs: dict[str, BulkJob] = {}
        """By gid, oldest first."""
        self.tokens_seen = 0
        """Downloads that brought an access token along, which no client should send to another host."""
        self.downloads = 0
        self._field_resolver = field_resolver
        self._type_resolver = type_resolver
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> list[BulkJob]:
        """Those that count against the limit."""
        return [job for job in self.jobs.values() if job.status not in ENDED]

    def start(self, schema: GraphQLSchema, text: str, call: RequestContext, *, grouped: bool) -> BulkJob:
        """A new job that works in the background."""
        rows = BulkQueryRunner(
            schema=schema,
            text=text,
            call=RequestContext(catalog=call.catalog, site=call.site, single_product=True, bulk=self),
            nested_limit=self.switches.nested_limit,
            field_resolver=self._field_resolver,
            type_resolver=self._type_resolver,
        )
        job = self._add(BulkJob(id=self._id(), query=text, switches=replace(self.switches), grouped=grouped))
        worker = asyncio.get_running_loop().create_task(self._work(job, rows))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        return job

    def start_others(self, count: int) -> list[BulkJob]:
        """Jobs of somebody else with the same app; they run until `cancel`."""
        return [
            self._add(BulkJob(id=self._id(), query="", switches=replace(self.switches), is_other=True))
            for _ in range(count)
        ]

    def expire(self) -> None:
        """All results are gone, as after seven days."""
        for job in self.jobs.values():
            job.is_expired = True

    def by_token(self, token: str) -> BulkJob | None:
        """Whose result this is; None when there is none (any more)."""
        found = (job for job in self.jobs.values() if job.token == token)
        job = next(found, None)
        return job if job and job.status in ("COMPLETED", "FAILED") else None

    async def close(self) -> None:
        """Ends what still works."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def shown(self, job: BulkJob, site: str) -> dict[str, Any]:
        """The job as BulkOperation."""
        status = job.status
        url = self._url(job, site) if status in ("COMPLETED", "FAILED") and job.body else None
        return {
            "__typename": "BulkOperation",
            "id": job.id,
            "status": status,
            "type": "QUERY",
            "query": job.query,
            "errorCode": job.error or None if status == "FAILED" else None,
            "createdAt": format_datetime(job.created),
            "completedAt": format_datetime(job.created) if status in ENDED else None,
            "objectCount": str(job.object_count),
            "rootObjectCount": str(job.root_count),
            "fileSize": str(len(job.body)) if status == "COMPLETED" else None,
            "url": url if status == "COMPLETED" else None,
            "partialDataUrl": url if status == "FAILED" else None,
        }

    def _url(self, job: BulkJob, site: str) -> str:
        origin, _, domain = site.rpartition("/")
        signature = f"Expires=1795824000&Signature={job.token[::-1]}"
        return f"{self.switches.files_url or origin}/_files/{domain}/{job.token}.jsonl?{signature}"

    def _id(self) -> str:
        return gid("BulkOperation", _FIRST_ID + len(self.jobs))

    def _add(self, job: BulkJob) -> BulkJob:
        self.jobs[job.id] = job
        return job

    async def _work(self, job: BulkJob, rows: BulkQueryRunner) -> None:
        scattered = None if job.grouped or job.switches.adjacent else InterleavedOrder(job.switches.seed)
        try:
            for trees in rows.pages():
                kept = list(_kept(trees, job))
                job.lines.extend(scattered.page(kept) if scattered else adjacent(kept))
                await asyncio.sleep(0)
        except GraphQLError:
            job.error = "INTERNAL_SERVER_ERROR"
        if scattered:
            job.lines.extend(scattered.rest())
        job.error = job.error or job.switches.fails
        job.is_executed = True


def _kept(trees: list[ResultRow], job: BulkJob) -> Iterator[ResultRow]:
    for tree in trees:
        every = job.switches.loses_every
        if every and (job.roots + job.lost + 1) % every == 0:
            job.lost += 1
            continue
        job.roots += 1
        yield tree


_CHUNK = 64 * 1024


async def serve_result(request: web.Request, name: str, jobs: BulkJobs) -> web.StreamResponse:
    """The file `name`, from the byte that is asked for."""
    jobs.downloads += 1
    jobs.tokens_seen += "X-Shopify-Access-Token" in request.headers
    job = jobs.by_token(name.removesuffix(".jsonl"))
    if job is None:
        return web.Response(
            status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml"
        )
    if request.query.get("Signature") != job.token[::-1]:
        return web.Response(
            status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"
        )
    body = job.body[:-20] if jobs.switches.short_files else job.body
    begin = 0 if jobs.switches.whole_files else _asked(request)
    if begin and begin >= len(body):
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    headers = {"ETag": f'"{job.token}"', "Accept-Ranges": "bytes", "Content-Length": str(len(body) - begin)}
    if begin:
        headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
    reply = web.StreamResponse(status=206 if begin else 200, headers=headers)
    reply.content_type = "application/jsonl"
    await reply.prepare(request)
    await _send(request, reply, body[begin:], jobs)
    return reply


async def _send(request: web.Request, reply: web.StreamResponse, body: bytes, jobs: BulkJobs) -> None:
    is_cut = jobs.switches.cut_files > 0
    if is_cut:
        jobs.switches.cut_files -= 1
        body = body[: len(body) // 2]
    for start in range(0, len(body), _CHUNK):
        await reply.write(body[start : start + _CHUNK])
    if is_cut and request.transport:
        request.transport.close()
        return
    await reply.write_eof()


def _asked(request: web.Request) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    return int(match[1]) if match else 0
