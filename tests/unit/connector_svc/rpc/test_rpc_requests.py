from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.failure import InvalidRequest
from google.protobuf.timestamp_pb2 import Timestamp

from connector_svc.domain.shop import Shop
from connector_svc.rpc.requests import Platforms, parse_fetch, parse_shop, parse_webhook
from tests.fakes.listed_platform import ListedPlatform

PLATFORMS = Platforms([ListedPlatform(name="woo"), ListedPlatform(name="listed")])


def shop(domain: str = "a.example", platform: str = "listed") -> pb.ShopRef:
    return pb.ShopRef(platform=platform, domain=domain)


def test_a_complete_request_is_parsed() -> None:
    after = Timestamp(seconds=1_700_000_000, nanos=5000)
    request = pb.FetchProductsRequest(
        shop=shop("A.Example."), updated_after=after, checkpoint=b"x", max_batch_products=7
    )
    parsed = parse_fetch(request, PLATFORMS)
    assert parsed.platform.name == "listed"
    assert parsed.fetch.shop == Shop("listed", "a.example")
    assert parsed.fetch.updated_after == datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC)
    assert (parsed.fetch.checkpoint, parsed.fetch.max_batch_products) == (b"x", 7)


@pytest.mark.parametrize(("requested", "used"), [(0, 250), (1, 1), (250, 250), (251, 250), (2**31 - 1, 250)])
def test_batches_have_1_to_250_products(requested: int, used: int) -> None:
    request = pb.FetchProductsRequest(shop=shop(), max_batch_products=requested)
    assert parse_fetch(request, PLATFORMS).fetch.max_batch_products == used


def test_every_wrong_field_is_named_at_once() -> None:
    request = pb.FetchProductsRequest(
        shop=shop("not a domain"),
        updated_after=Timestamp(seconds=2**62),
        checkpoint=b"x" * 100_000,
        max_batch_products=-1,
    )
    with pytest.raises(InvalidRequest) as caught:
        parse_fetch(request, PLATFORMS)
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["shop.domain", "updated_after", "max_batch_products", "checkpoint"]


def test_an_unknown_platform_is_reported_with_the_existing_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"shop\.platform: must be one of: listed, woo"):
        parse_shop(shop(platform="magento"), PLATFORMS)


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        ("LISTED", "shop.platform: must be written 'listed', in lower case and without spaces"),
        ("listed ", "shop.platform: must be written 'listed', in lower case and without spaces"),
        ("", "shop.platform: is required, one of: listed, woo"),
        ("magento", "shop.platform: must be one of: listed, woo"),
    ],
)
def test_a_wrong_platform_is_the_only_violation_and_its_true_cause_is_named(platform: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_shop(shop(platform=platform), PLATFORMS)
    [violation] = caught.value.violations
    assert f"{violation.field}: {violation.description}" == text


@pytest.mark.parametrize("domain", ["https://key:secret@a.example", "a.example:80", "a.other"])
def test_a_wrong_domain_is_reported_with_an_example_and_never_quoted(domain: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_shop(shop(domain), PLATFORMS)
    [violation] = caught.value.violations
    wanted = "must be the shop's host name, such as 'demo.example', without scheme, port and path"
    assert (violation.field, violation.description) == ("shop.domain", wanted)


def request_after(moment: datetime) -> pb.FetchProductsRequest:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return pb.FetchProductsRequest(shop=shop(), updated_after=stamp)


@pytest.mark.parametrize("year", [1, 1969, 1999, 9999])
def test_a_time_that_no_platform_accepts_is_rejected_by_its_field(year: int) -> None:
    """WooCommerce's reader subtracts a second from it, and Shopify rejects it as a malformed query."""
    with pytest.raises(InvalidRequest, match="2000-01-01T00:00:00Z until now") as caught:
        parse_fetch(request_after(datetime(year, 1, 1, tzinfo=UTC)), PLATFORMS)
    assert [violation.field for violation in caught.value.violations] == ["updated_after"]


def test_a_callers_clock_may_be_ahead_by_hours_but_not_by_days() -> None:
    moment = datetime.now(UTC) + timedelta(hours=12)
    assert parse_fetch(request_after(moment), PLATFORMS).fetch.updated_after == moment
    with pytest.raises(InvalidRequest, match="updated_after"):
        parse_fetch(request_after(moment + timedelta(days=1)), PLATFORMS)


def test_an_empty_request_names_both_fields_of_the_shop() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_shop(pb.ShopRef(), PLATFORMS)
    assert [violation.field for violation in caught.value.violations] == ["shop.platform", "shop.domain"]


@pytest.mark.parametrize("nanos", [-1, 2**31 - 1])
def test_a_timestamp_with_impossible_nanoseconds_is_rejected(nanos: int) -> None:
    request = pb.FetchProductsRequest(shop=shop(), updated_after=Timestamp(seconds=1, nanos=nanos))
    with pytest.raises(InvalidRequest, match="updated_after"):
        parse_fetch(request, PLATFORMS)


@pytest.mark.parametrize(
    "domain", ["a.example\n", " a.example", "a.example..", "a.example#x", "a.example/x", "ä.example", "", "."]
)
def test_the_whole_domain_must_match_the_pattern_of_its_platform(domain: str) -> None:
    with pytest.raises(InvalidRequest, match=r"shop\.domain"):
        parse_shop(shop(domain), PLATFORMS)


def test_the_kelvin_sign_is_not_a_k() -> None:
    """In lower case it becomes one, and two texts would be the same shop."""
    with pytest.raises(InvalidRequest):
        parse_shop(shop("\u212a.example"), PLATFORMS)


def test_many_product_ids_are_refused_without_reading_them() -> None:
    """4 MiB of empty ids are two million."""
    request = pb.FetchProductsRequest(shop=shop(), product_ids=["p1"] * 251)
    with pytest.raises(InvalidRequest, match="product_ids: must not be more than 250"):
        parse_fetch(request, PLATFORMS)


HEADER = pb.WebhookHeader(name="X-Topic", value="x")


def test_a_delivery_is_parsed_with_its_headers_and_its_raw_body() -> None:
    request = pb.VerifyWebhookRequest(platform="listed", headers=[HEADER], body=b"\xff", domain="A.Example.")
    parsed = parse_webhook(request, PLATFORMS, ["listed"])
    assert (parsed.platform.name, parsed.delivery.body, parsed.delivery.domain) == (
        "listed",
        b"\xff",
        "a.example",
    )
    assert parsed.delivery.headers.get("x-topic") == "x"


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.VerifyWebhookRequest(), ["platform", "headers"]),
        (pb.VerifyWebhookRequest(platform="woo", headers=[HEADER]), ["platform"]),
        (pb.VerifyWebhookRequest(platform="Listed", headers=[HEADER]), ["platform"]),
        (pb.VerifyWebhookRequest(platform="listed", headers=[HEADER], domain="x y"), ["domain"]),
        (pb.VerifyWebhookRequest(platform="listed", headers=[HEADER] * 101), ["headers"]),
        (pb.VerifyWebhookRequest(platform="listed", headers=[HEADER], body=b"x" * (2**20 + 1)), ["body"]),
        (pb.VerifyWebhookRequest(platform="listed", headers=[HEADER, pb.WebhookHeader()]), ["headers[1].name"]),
        (
            pb.VerifyWebhookRequest(platform="listed", headers=[pb.WebhookHeader(name="a", value="x" * 8193)]),
            ["headers[0].value"],
        ),
    ],
)
def test_every_wrong_field_of_a_delivery_is_named(request_: pb.VerifyWebhookRequest, fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_webhook(request_, PLATFORMS, ["listed"])
    assert [violation.field for violation in caught.value.violations] == fields
