"""A short pass of `make fuzz`, and what its oracle finds wrong."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from catalogsync_common.failure import Failure, InvalidRequest
from catalogsync_common.status import DETAILS_KEY, STATUS_CODES, to_status

from tests.conftest import open_directory
from tests.security.fuzz.callers import Caller
from tests.security.fuzz.mutations import MAX_MESSAGE_BYTES
from tests.security.fuzz.oracle import broken_lines, memory_mb, violation
from tests.security.fuzz.requests import RequestGenerator, Vocabulary, disposable_shops
from tests.security.fuzz.run import fuzz
from tests.security.methods import METHODS
from tests.security.target import running_target, sync_shops
from tests.waiting import TIMEOUT_SECONDS

SEED = 13
REQUESTS = 40
"""Of each method; `make fuzz` sends 10,000."""
SOMEBODY = Caller(kind="service", metadata=(), timeout=TIMEOUT_SECONDS)


async def test_no_request_breaks_the_services() -> None:
    """On a pair of its own, since the requests change its shops."""
    with open_directory("fuzz") as directory:
        async with running_target(directory) as target:
            report = await fuzz(target, await sync_shops(target), seed=SEED, requests=REQUESTS)
    assert report.violations == []
    assert {name: count >= REQUESTS - 5 for name, count in report.sent.items()} == {
        str(method): True for method in METHODS
    }
    # The generator reaches the use cases as well.
    assert {"", "INVALID_REQUEST", "SHOP_NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED"} <= set(
        report.outcomes
    )


def vocabulary() -> Vocabulary:
    known: dict[str, Any] = {"shop_id": ["real"], "domain": ["real"], "platform": ["real"], "product_id": ["p1"]}
    return Vocabulary(
        shops=[{"shop_id": "real"}, *disposable_shops()], values=known | {"Timestamp": [0], "Duration": [0]}
    )


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_same_seed_makes_the_same_requests(method: Any) -> None:
    first, second = (RequestGenerator(vocabulary()) for _ in range(2))
    for number in range(50):
        assert first.generate(Random(number), method) == second.generate(Random(number), method)


def test_the_shops_that_other_requests_need_are_not_deleted() -> None:
    (method,) = (method for method in METHODS if str(method) == "DeleteShop")
    generator = RequestGenerator(vocabulary())
    assert not any(b"real" in generator.generate(Random(number), method) for number in range(2_000))


def error(code: grpc.StatusCode, details: str, *trailers: tuple[str, Any]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details)


def error_of(failure: Failure, **changes: Any) -> grpc.aio.AioRpcError:
    status = to_status(failure)
    code: grpc.StatusCode = changes.get("code", STATUS_CODES[failure.reason])
    return error(code, changes.get("details", status.message), (DETAILS_KEY, status.SerializeToString()))


class OfReason(Failure):
    """A failure of any reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("text")


INVALID = InvalidRequest.of("shop", "is required")
BAD_ERRORS: dict[str, grpc.aio.AioRpcError] = {
    "UNKNOWN": error(grpc.StatusCode.UNKNOWN, "Unexpected <class 'ValueError'>"),
    "INTERNAL": error_of(OfReason("INTERNAL")),
    "without reason": error(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST: shop"),
    "another code": error_of(INVALID, code=grpc.StatusCode.NOT_FOUND),
    "an outage that there is not": error_of(OfReason("STORAGE_UNAVAILABLE")),
    "a name of a class": error_of(INVALID, details="INVALID_REQUEST: ValueError: x"),
    "a text of the driver": error_of(INVALID, details='INVALID_REQUEST: relation "shop" does not exist'),
    "a traceback": error_of(INVALID, details="INVALID_REQUEST: Traceback (most recent call last)"),
    "control characters": error_of(INVALID, details="INVALID_REQUEST: a\x1b[31m"),
    "no reason in the text": error_of(INVALID, details="shop: is required"),
    "cut off by no deadline": error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    "refused without being large": error(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large"),
    "large trailers": error(
        grpc.StatusCode.INVALID_ARGUMENT,
        to_status(INVALID).message,
        (DETAILS_KEY, to_status(INVALID).SerializeToString()),
        ("x-more", "v" * 8_192),
    ),
}


@pytest.mark.parametrize("name", BAD_ERRORS)
def test_the_oracle_finds(name: str) -> None:
    assert violation(BAD_ERRORS[name], SOMEBODY, b"")


def test_the_oracle_accepts_our_errors_and_those_of_grpc_that_the_call_has_caused() -> None:
    hasty = Caller(kind="service", metadata=(), timeout=0.001)
    verbose = Caller(kind="service", metadata=(("x-long", "v" * 8_000),), timeout=TIMEOUT_SECONDS)
    expired = error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    too_large = error(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large")
    assert violation(error_of(INVALID), SOMEBODY, b"") is None
    assert violation(expired, hasty, b"") is None
    assert violation(too_large, verbose, b"") is None
    assert violation(too_large, SOMEBODY, bytes(MAX_MESSAGE_BYTES + 1)) is None


def test_the_oracle_finds_exceptions_in_logs(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    good = '2026 INFO a.b listening\n{"level": "ERROR", "message": "the shop cannot be read"}\n'
    log.write_text(good)
    assert list(broken_lines(log, 0)) == []
    log.write_text(good + '2026 ERROR a.b failed\n  | Traceback (most recent call last):\n{"exception": "x"}\n')
    assert len(list(broken_lines(log, 0))) == 2
    assert len(list(broken_lines(log, len(good) + 60))) == 1


def test_a_process_that_has_exited_has_no_memory() -> None:
    assert set(memory_mb({"self": os.getpid(), "none": 2**22 + 1})) == {"self"}
