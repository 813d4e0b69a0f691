"""Brings the result of a bulk operation to the disk, and proves that all of it came."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from catalogsync_common.threads import run_in_thread

from connector_svc.domain.errors import SourceFailure
from connector_svc.platforms.shopify.bulk_jobs import Job
from connector_svc.platforms.shopify.bulk_join import RowBroken, Spill
from connector_svc.platforms.shopify.bulk_wait import GivenUp, number_of_text

_LONGEST_ROW = 32 * 1024 * 1024
_DOWNLOADS = 2
"""A file that came short is loaded once more: a proxy may have cut it."""

OpenFile = Callable[[], AsyncGenerator[bytes, None]]
Progress = Callable[[int, int], None]
"""Told of products and bytes so far."""


class FileShort(Exception):
    """Less came than the job counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the job says of its result; 0 is not told."""

    rows: int = 0
    roots: int = 0
    size: int = 0

    @classmethod
    def of(cls, job: Job) -> Expected:
        """Nothing can be expected of a failed job."""
        if job.status != "COMPLETED":
            return cls()
        return cls(
            rows=number_of_text(job.object_count),
            roots=number_of_text(job.root_object_count),
            size=number_of_text(job.file_size),
        )


async def filled(open_file: OpenFile, expected: Expected, *, after: int, on_progress: Progress) -> Spill:
    """The rows of the file, to be closed by the caller. Raises GivenUp when they cannot be had."""
    for left in reversed(range(_DOWNLOADS)):
        spill = await asyncio.to_thread(Spill, after=after)
        try:
            await _fill(spill, open_file, expected, on_progress)
        except FileShort as error:
            spill.close()
            if not left:
                raise GivenUp(f"the bulk job's file is not whole: {error}") from None
        except (SourceFailure, RowBroken, sqlite3.Error) as error:
            spill.close()
            raise GivenUp(f"the bulk job's file cannot be read ({type(error).__name__}: {error})") from error
        except BaseException:
            spill.close()
            raise
        else:
            return spill
    raise AssertionError("the last download returns or raises")


async def _fill(spill: Spill, open_file: OpenFile, expected: Expected, on_progress: Progress) -> None:
    rest = b""
    size = 0
    async with aclosing(open_file()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_ROW:
                raise RowBroken(f"a row is longer than {_LONGEST_ROW} bytes")
            await _add(spill, lines)
            on_progress(spill.roots, size)
    if rest.strip():
        try:
            await _add(spill, [rest])
        except RowBroken:
            raise FileShort("it ends within a row") from None
    _compare(spill, size, expected)


async def _add(spill: Spill, lines: list[bytes]) -> None:
    rows = [line for line in lines if line.strip()]
    await run_in_thread(lambda: spill.add(rows))


def _compare(spill: Spill, size: int, expected: Expected) -> None:
    for what, came, told in (
        ("bytes", size, expected.size),
        ("rows", spill.rows, expected.rows),
        ("products", spill.roots, expected.roots),
    ):
        if came < told:
            raise FileShort(f"{came} of {told} {what}")
