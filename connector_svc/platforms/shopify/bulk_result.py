"""Obtains the result of a bulk operation: waits for the job, downloads its file and checks that it is complete."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from catalogsync_common.threads import run_in_thread

from connector_svc.domain.errors import SourceFailure
from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.platforms.shopify.bulk_jobs import BulkJob, BulkJobs
from connector_svc.platforms.shopify.bulk_join import BulkJoin, InvalidRow
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError
from connector_svc.platforms.shopify.read_strategy import BulkPolicy

_MAX_ROW_BYTES = 32 * 1024 * 1024
_DOWNLOAD_ATTEMPTS = 2
"""A truncated file is downloaded once more: a proxy may have cut it."""
_POLL_BACKOFF_FACTOR = 1.5

OpenFile = Callable[[], AsyncGenerator[bytes, None]]
ProgressReporter = Callable[[int, int], None]
"""Called with the products and bytes received so far."""


class BulkReadFailed(Exception):
    """The job delivers nothing (more); the text says why. Never leaves this package: pages are read instead."""


class FileTruncated(Exception):
    """Less arrived than the job counts."""


class BulkJobWaiter:
    """Polls one job and reports its progress."""

    def __init__(
        self,
        jobs: BulkJobs,
        policy: BulkPolicy,
        *,
        clock: Callable[[], datetime],
        on_wait: WaitReporter,
        total_products: int | None,
    ) -> None:
        self._jobs = jobs
        self._policy = policy
        self._clock = clock
        self._on_wait = on_wait
        self._total_products = total_products
        self._done_products = 0

    async def wait_until_ended(self, job_id: str) -> BulkJob:
        """Return the job once it is COMPLETED or FAILED.

        Raises:
            BulkReadFailed: The job does not exist any more, is cancelled, expired or stalled; a stalled job is
                cancelled.
            SourceFailure: The shop cannot be read.
        """
        delay = self._policy.first_poll_interval
        progress: tuple[str, str] | None = None
        progress_at = _now()
        while True:
            job = await self._get(job_id)
            if job is not None and not job.is_running:
                return _ended(job)
            current = progress if job is None else (job.status, job.object_count)
            if current != progress:
                progress, progress_at = current, _now()
            elif _now() - progress_at >= self._policy.stalled_after.total_seconds():
                await self._jobs.cancel(job_id)
                raise BulkReadFailed("the bulk job has stalled")
            self._report_job(job, delay)
            await asyncio.sleep(delay.total_seconds())
            delay = min(delay * _POLL_BACKOFF_FACTOR, self._policy.max_poll_interval)

    def report_download(self, products: int, received_bytes: int, delay: timedelta) -> None:
        """Report the progress of the download of the result."""
        message = f"Shopify's bulk job is done, {received_bytes // 1024} KiB of its result are downloaded"
        self._report(delay, message, products)

    def _report_job(self, job: BulkJob | None, delay: timedelta) -> None:
        if job is None:
            return
        products = parse_count(job.root_object_count)
        of_total = "" if self._total_products is None else f" of about {self._total_products}"
        self._report(delay, f"Shopify's bulk job is {job.status}, {products}{of_total} products", products)

    def _report(self, delay: timedelta, message: str, done: int) -> None:
        total = self._total_products
        # The job's counts lag, and the download counts from 0 again: the reported progress never goes back.
        self._done_products = max(self._done_products, done if total is None else min(done, total))
        self._on_wait(
            Wait(
                reason=WaitReason.PLATFORM_JOB,
                until=self._clock() + delay,
                message=message,
                done_count=self._done_products,
                total_count=total,
            )
        )

    async def _get(self, job_id: str) -> BulkJob | None:
        """Return the job; None: Shopify could not answer now."""
        try:
            job = await self._jobs.get(job_id)
        except (ShopifyInternalError, MaxCostExceeded):
            return None
        if job is None:
            raise BulkReadFailed("Shopify does not know the bulk job any more")
        return job


def parse_count(text: str | None) -> int:
    """Return a count; 0 when the text is not a number."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _ended(job: BulkJob) -> BulkJob:
    if job.status not in ("COMPLETED", "FAILED"):
        raise BulkReadFailed(f"the bulk job is {job.status}")
    return job


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedCounts:
    """What the job reports about its file; 0: not reported."""

    rows: int = 0
    root_rows: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, job: BulkJob) -> ExpectedCounts:
        """Return the counts of a completed job; nothing can be expected of a failed one."""
        if job.status != "COMPLETED":
            return cls()
        return cls(
            rows=parse_count(job.object_count),
            root_rows=parse_count(job.root_object_count),
            size_bytes=parse_count(job.file_size),
        )


async def download_rows(
    open_file: OpenFile, expected: ExpectedCounts, *, after: int, on_progress: ProgressReporter
) -> BulkJoin:
    """Download the file and store its rows on disk, for products after the id `after`.

    Returns:
        The rows, to be closed by the caller.

    Raises:
        BulkReadFailed: The file is truncated or cannot be read.
    """
    for attempts_left in reversed(range(_DOWNLOAD_ATTEMPTS)):
        join = await asyncio.to_thread(BulkJoin, after=after)
        try:
            await _download(join, open_file, expected, on_progress)
        except FileTruncated as error:
            join.close()
            if not attempts_left:
                raise BulkReadFailed(f"the bulk job's file is truncated: {error}") from None
        except (SourceFailure, InvalidRow, sqlite3.Error) as error:
            join.close()
            reason = f"the bulk job's file cannot be read ({type(error).__name__}: {error})"
            raise BulkReadFailed(reason) from error
        except BaseException:
            join.close()
            raise
        else:
            return join
    raise AssertionError("the last download returns or raises")


async def _download(
    join: BulkJoin, open_file: OpenFile, expected: ExpectedCounts, on_progress: ProgressReporter
) -> None:
    rest = b""
    size_bytes = 0
    async with aclosing(open_file()) as chunks:
        async for chunk in chunks:
            size_bytes += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_ROW_BYTES:
                raise InvalidRow(f"a row is longer than {_MAX_ROW_BYTES} bytes")
            await _add_rows(join, lines)
            on_progress(join.root_rows, size_bytes)
    if rest.strip():
        try:
            await _add_rows(join, [rest])
        except InvalidRow:
            raise FileTruncated("it ends within a row") from None
    _check_counts(join, size_bytes, expected)


async def _add_rows(join: BulkJoin, lines: list[bytes]) -> None:
    rows = [line for line in lines if line.strip()]
    await run_in_thread(lambda: join.add(rows))


def _check_counts(join: BulkJoin, size_bytes: int, expected: ExpectedCounts) -> None:
    for unit, received, reported in (
        ("bytes", size_bytes, expected.size_bytes),
        ("rows", join.rows, expected.rows),
        ("products", join.root_rows, expected.root_rows),
    ):
        if received < reported:
            raise FileTruncated(f"{received} of {reported} {unit}")


def _now() -> float:
    return asyncio.get_running_loop().time()
