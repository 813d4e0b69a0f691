"""No input makes the catalog answer INTERNAL, and INVALID_REQUEST names the invalid fields.

Every field of every request of the API gets invalid or extreme values, first one field at a time and then several
at once, chosen by a fixed seed. New RPCs and fields are covered without a change here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.channel import open_channel
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e.conftest import CATALOG, System, details

SEED = 20_261_129
COMBINATIONS_PER_METHOD = 40

# A shop without credentials: a StartSync that turns out to be valid affects no other test.
SHOP = pb.ShopRef(platform="shopify", domain="bad-inputs.myshopify.com")
SYNC_ID = "01a225a7-d61c-77e2-ad50-6dfcdfdafb22"
CHANGEABLE = ("merchant_id", "display_name", "incremental_interval", "full_interval", "paused")
VALID: dict[str, Any] = {
    "shop": SHOP,
    "platform": SHOP.platform,
    "domain": SHOP.domain,
    "sync_id": SYNC_ID,
    "headers": [pb.WebhookHeader(name="X-Shopify-Topic", value="products/update")],
    "item_id": "1",
    "product_id": "1",
    "update": pb.ShopUpdate(),
    "update_mask": FieldMask(paths=CHANGEABLE),
}

TEXTS = (
    "\0",
    "a\0b",
    "x" * 300,
    "x" * 100_000,
    "%_\\",
    "'; DROP TABLE sync; --",
    "\u202egnp.exe",
    "\ufffe",
    "\U0010ffff",
    " ",
    "\n",
    "null",
    "7",
    "../../etc/passwd",
    # Other strings that UUID() accepts.
    "01a225a7d61c77e2ad506dfcdfdafb22----",
    SYNC_ID.upper(),
    f"{{{SYNC_ID[:-2]}",
    "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in SYNC_ID),
    "".join(chr(0x0660 + int(c)) if c.isdigit() else c for c in SYNC_ID),
    "W10",
    "eyJhIjoxfQ",
)
INT32 = (-1, -(2**31), 2**31 - 1)
INT64 = (-1, -(2**63), 2**63 - 1)
ENUMS = (-1, 7, 99, 2**31 - 1)
SECONDS = (-62_135_596_801, -62_135_596_800, 253_402_300_799, 253_402_300_800, 2**63 - 1, -(2**63))
NANOS = (-1, 10**9, -(2**31), 2**31 - 1)
TIMES = [Timestamp(seconds=s) for s in SECONDS] + [Timestamp(seconds=1, nanos=n) for n in NANOS]
DURATIONS = [Duration(seconds=s) for s in (*SECONDS, -1, 1)] + [Duration(seconds=60, nanos=n) for n in NANOS]
INVALID_UTF8 = b"\xff\xfe\xc0\x80"


def methods() -> list[Any]:
    service = pb.DESCRIPTOR.services_by_name["CatalogService"]
    return [method for method in service.methods if not method.server_streaming]


def bad_values(field: Any) -> Sequence[Any]:
    """Return invalid and extreme values of the field's type."""
    if field.message_type is not None:
        name = field.message_type.full_name
        if name == Timestamp.DESCRIPTOR.full_name:
            return TIMES
        if name == Duration.DESCRIPTOR.full_name:
            return DURATIONS
        if name == pb.ShopRef.DESCRIPTOR.full_name:
            platforms = [pb.ShopRef(platform=text, domain=SHOP.domain) for text in TEXTS]
            domains = [pb.ShopRef(platform=SHOP.platform, domain=text) for text in TEXTS]
            ids = [pb.ShopRef(shop_id=text) for text in (*TEXTS, SYNC_ID)]
            both = pb.ShopRef(shop_id=SYNC_ID, platform=SHOP.platform, domain=SHOP.domain)
            return [pb.ShopRef(), both, *ids, *platforms, *domains]
        if name == FieldMask.DESCRIPTOR.full_name:
            return [FieldMask(), *(FieldMask(paths=["paused", text]) for text in TEXTS)]
        if name == pb.ShopUpdate.DESCRIPTOR.full_name:
            texts = [pb.ShopUpdate(merchant_id=text, display_name=text) for text in TEXTS]
            return [*texts, *(pb.ShopUpdate(full_interval=interval) for interval in DURATIONS)]
        if name == pb.WebhookHeader.DESCRIPTOR.full_name:
            names = [pb.WebhookHeader(name=text, value="x") for text in ("", *TEXTS)]
            return [*names, *(pb.WebhookHeader(name="X-Shopify-Topic", value=text) for text in TEXTS)]
        raise AssertionError(f"no bad values for a {name}: add some")
    if field.enum_type is not None:
        return ENUMS
    by_type: dict[int, Sequence[Any]] = {
        field.TYPE_STRING: TEXTS,
        field.TYPE_INT32: INT32,
        field.TYPE_INT64: INT64,
        field.TYPE_BOOL: (True,),
        field.TYPE_BYTES: (b"\xff", b"{", b"x" * ((1 << 20) + 1)),
    }
    return by_type[field.type]


def request(method: Any, **changes: Any) -> Message:
    """Return a request that is valid except for the changed fields."""
    message_class = GetMessageClass(method.input_type)
    fields = {name: value for name, value in VALID.items() if name in method.input_type.fields_by_name}
    for name, value in changes.items():
        repeated = method.input_type.fields_by_name[name].is_repeated
        fields[name] = [value] if repeated else value
    return message_class(**fields)


def one_bad_field(method: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the name of the bad field and the serialized request."""
    for field in method.input_type.fields:
        for value in bad_values(field):
            yield field.name, request(method, **{field.name: value}).SerializeToString()


def several_bad_fields(method: Any) -> Iterator[bytes]:
    rng = random.Random(f"{SEED} {method.name}")
    fields = list(method.input_type.fields)
    for _ in range(COMBINATIONS_PER_METHOD):
        chosen = rng.sample(fields, rng.randint(1, len(fields)))
        changes = {field.name: rng.choice(bad_values(field)) for field in chosen}
        yield request(method, **changes).SerializeToString()


def raw_bytes(method: Any) -> Iterator[bytes]:
    """Yield bytes that are no message of the request's type, or that contain text that is not UTF-8."""
    yield from (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 50)
    for field in method.input_type.fields:
        if field.type == field.TYPE_STRING:
            tag = field.number << 3 | 2
            head = bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])
            yield head + bytes([len(INVALID_UTF8)]) + INVALID_UTF8


async def call_error(channel: grpc.aio.Channel, method: Any, raw: bytes) -> grpc.aio.AioRpcError | None:
    """Return the error of a call; None: it succeeded."""
    call: Any = channel.unary_unary(f"/{CATALOG}/{method.name}")
    try:
        await call(raw, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error
    return None


def violated_fields(error: grpc.aio.AioRpcError) -> set[str]:
    """Return the fields that an INVALID_REQUEST error names; empty for every other error."""
    found = details(error)
    if found["ErrorInfo"].reason != "INVALID_REQUEST":
        return set()
    return {violation.field for violation in found["BadRequest"].field_violations}


def assert_expected(error: grpc.aio.AioRpcError, raw: bytes) -> None:
    """Assert that the error has a code that the caller can act on, and names the fields of an invalid request."""
    allowed = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        # A webhook that its shop has not signed.
        grpc.StatusCode.PERMISSION_DENIED,
    )
    assert error.code() in allowed, (error.code(), error.details(), raw[:200])
    if (
        error.code() is grpc.StatusCode.INVALID_ARGUMENT
        and details(error)["ErrorInfo"].reason == "INVALID_REQUEST"
    ):
        assert violated_fields(error), (error.details(), raw[:200])


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_a_bad_field_is_named_and_never_an_internal_error(system: System, method: Any) -> None:
    async with open_channel(system.catalog_address) as channel:
        invalid_count = 0
        for name, raw in one_bad_field(method):
            error = await call_error(channel, method, raw)
            if error is None:
                continue
            assert_expected(error, raw)
            named = violated_fields(error)
            # The first word: headers of "headers[1].value".
            assert {re.split(r"\W", field)[0] for field in named} <= {name}, (name, named, raw[:200])
            invalid_count += bool(named)
        assert invalid_count > 0


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_several_bad_fields_at_once_are_never_an_internal_error(system: System, method: Any) -> None:
    async with open_channel(system.catalog_address) as channel:
        for raw in several_bad_fields(method):
            error = await call_error(channel, method, raw)
            if error is not None:
                assert_expected(error, raw)


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_bytes_that_are_no_request_are_an_invalid_argument(system: System, method: Any) -> None:
    async with open_channel(system.catalog_address) as channel:
        for raw in raw_bytes(method):
            error = await call_error(channel, method, raw)
            assert error is not None, raw
            assert (error.code(), violated_fields(error)) == (grpc.StatusCode.INVALID_ARGUMENT, {"request"}), raw


@pytest.mark.parametrize(
    "sync_id",
    [
        "01a225a7d61c77e2ad506dfcdfdafb22----",
        SYNC_ID.upper(),
        "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in SYNC_ID),
        "".join(chr(0x0660 + int(c)) if c.isdigit() else c for c in SYNC_ID),
    ],
)
async def test_a_sync_id_is_accepted_only_in_canonical_form(system: System, sync_id: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await system.catalog.GetSync(pb.GetSyncRequest(sync_id=sync_id))
    assert violated_fields(caught.value) == {"sync_id"}
