from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.drain import Drain
from catalogsync_common.logs import redact
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid
from connector_svc.domain.fetch import Batch
from connector_svc.domain.product import Image, Product, Variant
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.domain.shop import Shop
from connector_svc.rpc.batches import PART_BYTES, BatchWriter
from connector_svc.rpc.fetch_stream import FetchStream, StreamTiming
from connector_svc.rpc.requests import Platforms, parse_fetch
from connector_svc.rpc.stream_checkpoint import StreamCheckpoint, decode_stream_checkpoint
from tests.fakes.listed_platform import BEGAN, ListedPlatform

SHOP = Shop("listed", "a.example")
KIB = 1024
LATER = datetime(2026, 11, 21, tzinfo=UTC)


def product(identifier: str, kib: int = 1, variants: int = 1) -> Product:
    own = tuple(Variant(id=f"{identifier}-{number}") for number in range(variants))
    return Product(id=identifier, title="", description_html="x" * (kib * KIB), variants=own)


def issue(product_id: str, *, rejected: bool = False, sample: str = "", text: str = "m") -> RecordIssue:
    return RecordIssue(
        reason=IssueReason.INVALID_PRICE,
        message=text,
        product_id=product_id,
        sample=sample,
        product_rejected=rejected,
    )


@dataclass(slots=True)
class Received:
    """What a client has received; a resume continues from one of `checkpoints`."""

    products: list[str] = field(default_factory=list)
    items: int = 0
    issues: list[tuple[str, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)
    headers: list[pb.FetchHeader] = field(default_factory=list)
    end: pb.FetchEnd | None = None

    def take(self, message: pb.FetchProductsResponse) -> None:
        match message.WhichOneof("event"):
            case "header":
                self.headers.append(message.header)
            case "batch":
                self.sizes.append(message.ByteSize())
                self.products += [product.id for product in message.batch.products]
                self.items += sum(len(product.variants) for product in message.batch.products)
                self.issues += [(issue.product_id, issue.reason) for issue in message.batch.issues]
                self.checkpoints.append(message.batch.checkpoint)
            case "end":
                self.end = message.end


async def read(
    platform: ListedPlatform,
    into: Received,
    *,
    batches: int | None = None,
    checkpoint: bytes = b"",
    max_products: int = 5,
) -> Received:
    """Read into `into` until the end, or until `batches` batches were received."""
    request = pb.FetchProductsRequest(
        shop=pb.ShopRef(platform="listed", domain="a.example"),
        checkpoint=checkpoint,
        max_batch_products=max_products,
    )
    parsed = parse_fetch(request, Platforms([platform]))
    stream = FetchStream(parsed, drain=Drain(), redact=redact, timing=StreamTiming())
    messages = stream.messages()
    seen = 0
    async for message in messages:
        into.take(message)
        seen += message.HasField("batch")
        if batches is not None and seen == batches:
            break
    await messages.aclose()
    return into


async def assert_every_resume_completes(platform: ListedPlatform, *, max_products: int = 5) -> Received:
    """Whichever message was stored last, a resume from it delivers the rest once, and the same end."""
    whole = await read(platform, Received())
    for stored in range(1, len(whole.sizes) + 1):
        part = await read(platform, Received(), batches=stored)
        platform.watermark = LATER
        await read(platform, part, checkpoint=part.checkpoints[-1], max_products=max_products)
        platform.watermark = BEGAN
        assert Counter(part.products) == Counter(whole.products)
        assert Counter(part.issues) == Counter(whole.issues)
        assert part.end == whole.end
        assert [header.resumed for header in part.headers] == [False, True]
        assert part.headers[0].watermark_time == part.headers[1].watermark_time
    return whole


async def test_a_batch_of_usual_size_is_one_message() -> None:
    platform = ListedPlatform(products=[product(str(number), 10) for number in range(10)])
    whole = await assert_every_resume_completes(platform)
    assert len(whole.sizes) == 2


async def test_a_large_batch_is_sent_in_parts_that_can_all_be_resumed_from() -> None:
    platform = ListedPlatform(products=[product(str(number), 400) for number in range(12)])
    whole = await assert_every_resume_completes(platform)
    assert whole.products == [str(number) for number in range(12)]
    assert max(whole.sizes) < PART_BYTES + 10 * KIB
    assert len(whole.sizes) > 3


async def test_a_resume_may_request_another_batch_size() -> None:
    platform = ListedPlatform(products=[product(str(number), 400) for number in range(12)])
    for max_products in (1, 2, 3, 250):
        await assert_every_resume_completes(platform, max_products=max_products)


async def test_a_product_larger_than_a_part_has_a_message_of_its_own() -> None:
    platform = ListedPlatform(products=[product("a", 1), product("b", 2000), product("c", 1)])
    whole = await assert_every_resume_completes(platform)
    assert whole.products == ["a", "b", "c"]


async def test_a_product_above_the_limit_is_rejected_and_counted_as_such() -> None:
    products = [product("a"), product("big", 3 * KIB, variants=4), product("c", variants=2)]
    whole = await assert_every_resume_completes(ListedPlatform(products=products))
    assert whole.products == ["a", "c"]
    assert [identifier for identifier, _ in whole.issues] == ["big"]
    assert whole.end == pb.FetchEnd(
        source_count=3, emitted_count=2, rejected_count=1, emitted_variant_count=whole.items
    )


async def test_a_value_that_no_field_can_hold_rejects_only_its_product() -> None:
    wide = Product(id="wide", title="", images=(Image(url="u", width=2**40),))
    whole = await assert_every_resume_completes(ListedPlatform(products=[product("a"), wide, product("c")]))
    assert whole.products == ["a", "c"]
    assert whole.end is not None
    assert (whole.end.emitted_count, whole.end.rejected_count) == (2, 1)


async def test_many_issues_do_not_exceed_the_maximum_message_size() -> None:
    issues = [issue(str(number % 5), sample="ü" * 200, text="ü" * 500) for number in range(3_000)]
    issues += [issue("")]
    platform = ListedPlatform(products=[product(str(number)) for number in range(5)], issues=issues)
    whole = await assert_every_resume_completes(platform)
    assert len(whole.issues) == 3_001
    assert max(whole.sizes) < 4 * 2**20


async def test_an_empty_shop_has_a_header_and_an_end() -> None:
    whole = await read(ListedPlatform(), Received())
    assert (len(whole.headers), whole.sizes) == (1, [])
    assert whole.end == pb.FetchEnd()


RECORDS = st.lists(
    st.tuples(st.sampled_from([1, 1, 300, 700, 1500, 3 * KIB]), st.integers(0, 2), st.booleans()),
    max_size=14,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(records=RECORDS, unknown_ids=st.integers(0, 2), missing_id=st.booleans())
async def test_every_resume_completes_the_pass_whatever_the_sizes_and_issues(
    records: Sequence[tuple[int, int, bool]], unknown_ids: int, missing_id: bool
) -> None:
    products = [product(str(number), kib, items) for number, (kib, items, _) in enumerate(records)]
    issues = [issue(str(number)) for number, (_, _, faulty) in enumerate(records) if faulty]
    issues += [issue(f"gone{number}", rejected=True) for number in range(unknown_ids)]
    issues += [issue("", rejected=True)] * missing_id
    whole = await assert_every_resume_completes(ListedPlatform(products=products, issues=issues))
    assert whole.end is not None
    assert whole.end.emitted_count == len(whole.products) == len(set(whole.products))
    assert whole.end.emitted_variant_count == whole.items


CHECKPOINT = StreamCheckpoint(
    watermark=BEGAN,
    platform=b"\x00\xff{}",
    unsendable=2,
    unsendable_items=7,
    sent=frozenset({"a", "ü", "gid://x/1"}),
)


def test_a_stream_checkpoint_is_decoded_as_it_was_encoded() -> None:
    assert decode_stream_checkpoint(SHOP, CHECKPOINT.encode()) == CHECKPOINT
    assert decode_stream_checkpoint(SHOP, b"") is None


@pytest.mark.parametrize(
    "garbled",
    [
        b"x",
        b"\xff" * 30,
        b"{}",
        CHECKPOINT.encode()[:-1],
        CHECKPOINT.encode() + b"x",
        replace(CHECKPOINT, unsendable=-1).encode(),
    ],
)
def test_a_garbled_stream_checkpoint_is_rejected(garbled: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        decode_stream_checkpoint(SHOP, garbled)


def test_a_stream_checkpoint_of_another_format_has_expired() -> None:
    encoded = bytearray(CHECKPOINT.encode())
    assert encoded[1] == 1, "the format comes first"
    encoded[1] = 2
    with pytest.raises(CheckpointExpired):
        decode_stream_checkpoint(SHOP, bytes(encoded))


async def test_other_calls_are_served_while_a_large_batch_is_converted() -> None:
    """Webhooks wait for the connector's event loop several times each."""
    loop, turns = asyncio.get_running_loop(), 0
    next_turns: list[asyncio.Handle] = []

    def count_turn() -> None:
        nonlocal turns
        turns += 1
        next_turns[:] = [loop.call_soon(count_turn)]

    count_turn()
    writer = BatchWriter(StreamCheckpoint(watermark=BEGAN), redact=str)
    batch = Batch(products=tuple(product(str(number)) for number in range(100)), checkpoint=b"1")
    (message,) = await writer.messages(batch)
    next_turns[0].cancel()
    assert len(message.batch.products) == 100
    assert turns > 4
