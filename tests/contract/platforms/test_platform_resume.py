"""Resuming from a checkpoint, on every platform."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid, SourceFailure
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop
from tests.contract.platforms.harness import PlatformHarness
from tests.contract.platforms.passes import Pass, fetch


def contents(*parts: Pass) -> Counter[str]:
    """Return all products and issues as text."""
    return Counter(str(record) for part in parts for record in [*part.products, *part.issues])


async def test_resuming_from_any_batch_delivers_exactly_the_rest(source: PlatformHarness) -> None:
    whole = await fetch(source, batch=20)
    for stored in range(len(whole.batches)):
        first = Pass(events=[whole.events[0], *whole.batches[: stored + 1]])
        rest = await fetch(source, batch=20, checkpoint=whole.batches[stored].checkpoint)
        assert contents(first, rest) == contents(whole)
        assert rest.end == whole.end
        assert rest.header.resumed
        assert rest.header.watermark == whole.header.watermark


async def test_the_batch_size_may_change_with_a_resume(source: PlatformHarness) -> None:
    whole = await fetch(source, batch=20)
    rest = await fetch(source, batch=13, checkpoint=whole.batches[1].checkpoint)
    assert contents(Pass(events=[*whole.batches[:2]]), rest) == contents(whole)
    assert rest.end == whole.end


async def test_a_first_pass_is_not_marked_as_resumed(source: PlatformHarness) -> None:
    assert not (await fetch(source, batches=1)).header.resumed


async def test_a_checkpoint_of_another_shop_is_rejected(source: PlatformHarness) -> None:
    checkpoint = (await fetch(source, batch=20, batches=1)).batches[0].checkpoint
    other = Shop(source.shop.platform, f"other-{source.shop.domain}")
    assert_rejected(await failure_of(source, FetchRequest(shop=other, checkpoint=checkpoint)))


async def test_a_checkpoint_of_another_window_is_rejected(source: PlatformHarness) -> None:
    checkpoint = (await fetch(source, batch=20, batches=1)).batches[0].checkpoint
    after = datetime(2026, 1, 1, tzinfo=UTC)
    request = FetchRequest(shop=source.shop, checkpoint=checkpoint, updated_after=after)
    assert_rejected(await failure_of(source, request))


async def test_a_garbled_checkpoint_is_rejected_and_never_used_in_part(source: PlatformHarness) -> None:
    good = (await fetch(source, batch=20, batches=2)).batches[1].checkpoint
    generator = random.Random(7)
    garbled = [b"x", b"\x00" * 40, b"{}", b"null", good[: len(good) // 2], good[1:], good + b"x"]
    garbled += [generator.randbytes(60) for _ in range(5)]
    for checkpoint in garbled:
        assert_rejected(await failure_of(source, FetchRequest(shop=source.shop, checkpoint=checkpoint)))


async def test_a_checkpoint_with_an_invalid_position_is_rejected(source: PlatformHarness) -> None:
    good = (await fetch(source, batch=20, batches=1)).batches[0].checkpoint
    head, separator, _ = good.partition(b'"position":')
    assert separator
    for position in (b"{}", b"[]", b"null", b'{"a":1}', b"17"):
        checkpoint = head + separator + position + b"}"
        assert_rejected(await failure_of(source, FetchRequest(shop=source.shop, checkpoint=checkpoint)))


async def test_no_checkpoint_holds_a_secret_or_grows_with_the_catalog(source: PlatformHarness) -> None:
    for batch in (await fetch(source, batch=5)).batches:
        assert len(batch.checkpoint) < 16 * 1024
        assert not any(secret.encode() in batch.checkpoint for secret in source.secrets)


async def failure_of(source: PlatformHarness, request: FetchRequest) -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        async for _ in source.platform.fetch(request, on_wait=lambda _: None):
            pass
    return caught.value


def assert_rejected(failure: SourceFailure) -> None:
    assert isinstance(failure, CheckpointInvalid | CheckpointExpired), repr(failure)
