"""The bulk operations of one shop, and the download of their results."""

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
from graphql import GraphQLError

from devstore.shopify.bulk_result import InterleavedOrder, ResultRow, grouped_order
from devstore.shopify.quirks import BulkSwitches
from devstore.shopify.scalars import format_datetime, gid

MAX_ACTIVE_JOBS = 5
_FIRST_ID = 5_000_000_000_000
ENDED = {"COMPLETED", "FAILED", "CANCELED", "EXPIRED"}
_CHUNK_BYTES = 64 * 1024
_SHORT_FILE_MISSING_BYTES = 20


@dataclass(slots=True, kw_only=True, eq=False)
class BulkJob:
    """One bulk operation: its rows so far and its status, which depends on the time since its start."""

    id: str
    query: str
    switches: BulkSwitches
    grouped: bool = False
    is_other: bool = False
    """Whether somebody else started it with the same app: it runs until it is cancelled."""
    clock: Callable[[], float] = time.monotonic
    lines: list[bytes] = field(default_factory=list)
    roots: int = 0
    """Root objects so far."""
    lost: int = 0
    """Root objects that are silently missing, also from the counts (BulkSwitches.loses_every)."""
    error: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    """The name of the result file."""
    began: float = 0.0
    cancelled_at: float | None = None
    is_expired: bool = False
    is_executed: bool = False
    """Whether all rows have been computed; the status may still be RUNNING."""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def status(self) -> str:
        """A value of the enum BulkOperationStatus."""
        elapsed = self.clock() - self.began
        if self.cancelled_at is not None:
            done = self.clock() - self.cancelled_at >= self.switches.cancel_seconds
            return "CANCELED" if done else "CANCELING"
        if self.is_expired:
            return "EXPIRED"
        if elapsed < self.switches.seconds / 10:
            return "CREATED"
        if self.is_other or self.switches.stalls or not self.is_executed or elapsed < self.switches.seconds:
            return "RUNNING"
        return "FAILED" if self.error else "COMPLETED"

    @property
    def object_count(self) -> int:
        """The number of rows so far; it lags while the job runs."""
        return self._reported(len(self.lines))

    @property
    def root_count(self) -> int:
        """The number of root objects so far; it lags while the job runs."""
        return self._reported(self.roots)

    @property
    def body(self) -> bytes:
        """The result file: all rows of a completed job, the first half of the rows of a failed one."""
        lines = self.lines[: len(self.lines) // 2] if self.error else self.lines
        return b"".join(line + b"\n" for line in lines)

    def cancel(self) -> None:
        """Cancel the job; it is CANCELING for `cancel_seconds`."""
        self.cancelled_at = self.clock()

    def _reported(self, count: int) -> int:
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
    """Starts, finds and ends jobs. Results are held in memory until the shop is closed."""

    def __init__(self) -> None:
        self.switches = BulkSwitches()
        self.jobs: dict[str, BulkJob] = {}
        """By global id, oldest first."""
        self.tokens_seen = 0
        """Downloads with an access token, which no client should send to another host."""
        self.downloads = 0
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> list[BulkJob]:
        """The jobs that count against MAX_ACTIVE_JOBS."""
        return [job for job in self.jobs.values() if job.status not in ENDED]

    def start(self, query: str, pages: Iterator[list[ResultRow]], *, grouped: bool) -> BulkJob:
        """Start a job that computes its result in the background.

        Args:
            query: The text of the bulk query, which the job shows.
            pages: The root objects with their descendants, some at a time; may raise GraphQLError.
            grouped: The argument groupObjects: children directly follow their parents.
        """
        job = self._add(BulkJob(id=self._next_id(), query=query, switches=replace(self.switches), grouped=grouped))
        worker = asyncio.get_running_loop().create_task(self._execute(job, pages))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        return job

    def start_others(self, count: int) -> list[BulkJob]:
        """Add jobs that somebody else started with the same app; they run until `cancel` is called."""
        return [
            self._add(BulkJob(id=self._next_id(), query="", switches=replace(self.switches), is_other=True))
            for _ in range(count)
        ]

    def expire(self) -> None:
        """Expire all jobs and their results, as the platform does after seven days."""
        for job in self.jobs.values():
            job.is_expired = True

    def by_token(self, token: str) -> BulkJob | None:
        """Return the job whose result file has this token; None when there is no such file (any more)."""
        found = (job for job in self.jobs.values() if job.token == token)
        job = next(found, None)
        return job if job and job.status in ("COMPLETED", "FAILED") else None

    async def close(self) -> None:
        """Cancel the background tasks."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def to_json(self, job: BulkJob, site: str) -> dict[str, Any]:
        """Return the job as a BulkOperation of the schema."""
        status = job.status
        url = self._result_url(job, site) if status in ("COMPLETED", "FAILED") and job.body else None
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

    def _result_url(self, job: BulkJob, site: str) -> str:
        origin, _, domain = site.rpartition("/")
        signature = f"Expires=1795824000&Signature={job.token[::-1]}"
        return f"{self.switches.files_url or origin}/_files/{domain}/{job.token}.jsonl?{signature}"

    def _next_id(self) -> str:
        return gid("BulkOperation", _FIRST_ID + len(self.jobs))

    def _add(self, job: BulkJob) -> BulkJob:
        self.jobs[job.id] = job
        return job

    async def _execute(self, job: BulkJob, pages: Iterator[list[ResultRow]]) -> None:
        interleaved = None if job.grouped or job.switches.adjacent else InterleavedOrder(job.switches.seed)
        try:
            for page in pages:
                rows = list(_without_lost(page, job))
                job.lines.extend(interleaved.page(rows) if interleaved else grouped_order(rows))
                await asyncio.sleep(0)
        except GraphQLError:
            job.error = "INTERNAL_SERVER_ERROR"
        if interleaved:
            job.lines.extend(interleaved.rest())
        job.error = job.error or job.switches.fails
        job.is_executed = True


def _without_lost(rows: list[ResultRow], job: BulkJob) -> Iterator[ResultRow]:
    for row in rows:
        every = job.switches.loses_every
        if every and (job.roots + job.lost + 1) % every == 0:
            job.lost += 1
            continue
        job.roots += 1
        yield row


async def serve_result(request: web.Request, name: str, jobs: BulkJobs) -> web.StreamResponse:
    """Send the result file `name`, from the requested byte on. It needs a signature in the query and no token."""
    jobs.downloads += 1
    jobs.tokens_seen += "X-Shopify-Access-Token" in request.headers
    job = jobs.by_token(name.removesuffix(".jsonl"))
    if job is None:
        return _storage_error(404, "NoSuchKey")
    if request.query.get("Signature") != job.token[::-1]:
        return _storage_error(403, "AccessDenied")
    body = job.body[:-_SHORT_FILE_MISSING_BYTES] if jobs.switches.short_files else job.body
    begin = 0 if jobs.switches.whole_files else _requested_begin(request)
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
    for start in range(0, len(body), _CHUNK_BYTES):
        await reply.write(body[start : start + _CHUNK_BYTES])
    if is_cut and request.transport:
        request.transport.close()
        return
    await reply.write_eof()


def _storage_error(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")


def _requested_begin(request: web.Request) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    return int(match[1]) if match else 0
