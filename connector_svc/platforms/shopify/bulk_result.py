"""Brings the result of a bulk operation to the disk, and proves that all of it came.

Waits until a bulk operation has ended, and tells how far it is."""

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

_LONGEST_ROW = 32 * 1024 * 1024
_DOWNLOADS = 2
"""A file that came short is loaded once more: a proxy may have cut it."""

OpenFile = Callable[[], AsyncGenerator[bytes, None]]
Progress = Callable[[int, int], None]
"""Told of products and bytes so far."""


class FileTruncated(Exception):
    """Less came than the job counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedCounts:
    """What the job says of its result; 0 is not told."""

    rows: int = 0
    roots: int = 0
    size: int = 0

    @classmethod
    def of(cls, job: BulkJob) -> ExpectedCounts:
        """Nothing can be expected of a failed job."""
        if job.status != "COMPLETED":
            return cls()
        return cls(
            rows=parse_count(job.object_count),
            roots=parse_count(job.root_object_count),
            size=parse_count(job.file_size),
        )


async def filled(open_file: OpenFile, expected: ExpectedCounts, *, after: int, on_progress: Progress) -> BulkJoin:
    """The rows of the file, to be closed by the caller. Raises BulkReadFailed when they cannot be had."""
    for left in reversed(range(_DOWNLOADS)):
        spill = await asyncio.to_thread(BulkJoin, after=after)
        try:
            await _fill(spill, open_file, expected, on_progress)
        except FileTruncated as error:
            spill.close()
            if not left:
                raise BulkReadFailed(f"the bulk job's file is not whole: {error}") from None
        except (SourceFailure, InvalidRow, sqlite3.Error) as error:
            spill.close()
            raise BulkReadFailed(
                f"the bulk job's file cannot be read ({type(error).__name__}: {error})"
            ) from error
        except BaseException:
            spill.close()
            raise
        else:
            return spill
    raise AssertionError("the last download returns or raises")


async def _fill(spill: BulkJoin, open_file: OpenFile, expected: ExpectedCounts, on_progress: Progress) -> None:
    rest = b""
    size = 0
    async with aclosing(open_file()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_ROW:
                raise InvalidRow(f"a row is longer than {_LONGEST_ROW} bytes")
            await _add(spill, lines)
            on_progress(spill.roots, size)
    if rest.strip():
        try:
            await _add(spill, [rest])
        except InvalidRow:
            raise FileTruncated("it ends within a row") from None
    _compare(spill, size, expected)


async def _add(spill: BulkJoin, lines: list[bytes]) -> None:
    rows = [line for line in lines if line.strip()]
    await run_in_thread(lambda: spill.add(rows))


def _compare(spill: BulkJoin, size: int, expected: ExpectedCounts) -> None:
    for what, came, told in (
        ("bytes", size, expected.size),
        ("rows", spill.rows, expected.rows),
        ("products", spill.roots, expected.roots),
    ):
        if came < told:
            raise FileTruncated(f"{came} of {told} {what}")


class BulkReadFailed(Exception):
    """The job gives nothing (more); its text says why. Never leaves this package: pages are read instead."""


class BulkJobWaiter:
    """Looks at one job again and again."""

    def __init__(
        self,
        jobs: BulkJobs,
        policy: BulkPolicy,
        *,
        clock: Callable[[], datetime],
        on_wait: WaitReporter,
        total: int | None,
    ) -> None:
        self._jobs = jobs
        self._policy = policy
        self._clock = clock
        self._on_wait = on_wait
        self._total = total
        self._done = 0

    async def ended(self, job_id: str) -> BulkJob:
        """The job once it is COMPLETED or FAILED.

        Raises BulkReadFailed when it is gone, cancelled, expired or stands still (then we cancel it), and SourceFailure.
        """
        delay = self._policy.first_poll_interval
        seen: tuple[str, str] | None = None
        since = _now()
        while True:
            job = await self._look(job_id)
            if job is not None and not job.runs:
                return _usable(job)
            mark = seen if job is None else (job.status, job.object_count)
            if mark != seen:
                seen, since = mark, _now()
            elif _now() - since >= self._policy.stalled_after.total_seconds():
                await self._jobs.end(job_id)
                raise BulkReadFailed("the bulk job stands still")
            self.tell(job, delay)
            await asyncio.sleep(delay.total_seconds())
            delay = min(delay * 1.5, self._policy.max_poll_interval)

    def tell(self, job: BulkJob | None, delay: timedelta) -> None:
        """Tells of a wait for the job."""
        if job is None:
            return
        found = parse_count(job.root_object_count)
        of_total = "" if self._total is None else f" of about {self._total}"
        self._report(delay, f"Shopify's bulk job is {job.status}, {found}{of_total} products", found)

    def tell_reading(self, products: int, received: int, delay: timedelta) -> None:
        """Tells of a result that is being loaded."""
        self._report(delay, f"Shopify's bulk job is done, {received // 1024} KiB of its result are here", products)

    def _report(self, delay: timedelta, message: str, done: int) -> None:
        total = self._total
        # Counts lag, and the result is counted anew: what was told once stays told.
        self._done = max(self._done, done if total is None else min(done, total))
        self._on_wait(
            Wait(
                reason=WaitReason.PLATFORM_JOB,
                until=self._clock() + delay,
                message=message,
                done_count=self._done,
                total_count=total,
            )
        )

    async def _look(self, job_id: str) -> BulkJob | None:
        """None: Shopify stumbled over the question."""
        try:
            job = await self._jobs.look(job_id)
        except (ShopifyInternalError, MaxCostExceeded):
            return None
        if job is None:
            raise BulkReadFailed("Shopify does not know the bulk job any more")
        return job


def parse_count(text: str | None) -> int:
    """A count; 0 when it is none."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _usable(job: BulkJob) -> BulkJob:
    if job.status not in ("COMPLETED", "FAILED"):
        raise BulkReadFailed(f"the bulk job is {job.status}")
    return job


def _now() -> float:
    return asyncio.get_running_loop().time()
