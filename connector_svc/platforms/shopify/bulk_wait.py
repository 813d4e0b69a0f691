"""Waits until a bulk operation has ended, and tells how far it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.platforms.shopify.bulk_jobs import BulkJobs, Job
from connector_svc.platforms.shopify.bulk_policy import BulkPolicy
from connector_svc.platforms.shopify.error_mapping import PlatformStumbled, QueryTooDear


class GivenUp(Exception):
    """The job gives nothing (more); its text says why. Never leaves this package: pages are read instead."""


class BulkWait:
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

    async def ended(self, job_id: str) -> Job:
        """The job once it is COMPLETED or FAILED.

        Raises GivenUp when it is gone, cancelled, expired or stands still (then we cancel it), and SourceFailure.
        """
        delay = self._policy.first_poll
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
                raise GivenUp("the bulk job stands still")
            self.tell(job, delay)
            await asyncio.sleep(delay.total_seconds())
            delay = min(delay * 1.5, self._policy.slowest_poll)

    def tell(self, job: Job | None, delay: timedelta) -> None:
        """Tells of a wait for the job."""
        if job is None:
            return
        found = number_of_text(job.root_object_count)
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

    async def _look(self, job_id: str) -> Job | None:
        """None: Shopify stumbled over the question."""
        try:
            job = await self._jobs.look(job_id)
        except (PlatformStumbled, QueryTooDear):
            return None
        if job is None:
            raise GivenUp("Shopify does not know the bulk job any more")
        return job


def number_of_text(text: str | None) -> int:
    """A count; 0 when it is none."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _usable(job: Job) -> Job:
    if job.status not in ("COMPLETED", "FAILED"):
        raise GivenUp(f"the bulk job is {job.status}")
    return job


def _now() -> float:
    return asyncio.get_running_loop().time()
