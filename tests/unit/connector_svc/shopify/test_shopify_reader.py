from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web

from connector_svc.domain.errors import (
    CheckpointExpired,
    CheckpointInvalid,
    SourceCountMismatch,
    SourceCurrencyChanged,
    SourceQueryRefused,
)
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.records import IssueReason
from connector_svc.domain.shop import Shop
from connector_svc.platforms.shopify.graphql_response import GraphqlError
from connector_svc.platforms.shopify.read_strategy import ReadStrategy
from tests.unit.connector_svc.shopify.fake_admin import FakeAdmin, graphql
from tests.unit.connector_svc.shopify.nodes_json import Json, image_node, product_node
from tests.unit.connector_svc.shopify.shop_reading import SHOP, reading

NOON = datetime(2026, 11, 20, 10, tzinfo=UTC)


def shop_of(count: int, variants: int = 1) -> FakeAdmin:
    return FakeAdmin(products=[product_node(number, variants) for number in range(1, count + 1)])


async def test_the_header_has_the_shop_info_and_the_platforms_time() -> None:
    async with reading(shop_of(3, 2)) as shop:
        header = (await shop.read()).header
    assert (header.shop_info.currency_code, header.shop_info.platform_shop_id, header.shop_info.display_name) == (
        "EUR",
        "77",
        "Demo",
    )
    assert header.shop_info.served_api_version == "2026-10"
    assert header.shop_info.granted_scopes == ("read_inventory", "read_products")
    assert (header.estimated_product_count, header.estimated_variant_count) == (3, 6)
    assert header.watermark == NOON
    assert (header.strategy, header.resumed) == ("paging", False)


async def test_an_empty_shop_has_a_header_and_an_end() -> None:
    async with reading(FakeAdmin()) as shop:
        found = await shop.read()
    assert len(found.events) == 2
    assert (found.end.source_count, found.end.emitted_count, found.end.emitted_variant_count) == (0, 0, 0)


async def test_every_product_is_delivered_once_in_id_order() -> None:
    async with reading(shop_of(23, 2)) as shop:
        found = await shop.read(batch=5)
    assert found.ids == [str(number) for number in range(1, 24)]
    assert [len(batch.products) for batch in found.batches] == [5, 5, 5, 5, 3]
    assert (found.end.source_count, found.end.emitted_count, found.end.emitted_variant_count) == (23, 23, 46)
    assert found.end.warnings == ()


async def test_a_pass_resumed_from_any_checkpoint_delivers_the_rest_and_the_same_end() -> None:
    async with reading(shop_of(9, 2)) as shop:
        whole = await shop.read(batch=2)
        for index, batch in enumerate(whole.batches):
            rest = await shop.read(batch=2, checkpoint=batch.checkpoint)
            assert rest.header.resumed
            assert rest.ids == whole.ids[2 * (index + 1) :]
            assert rest.issues == [], "no product is reported as a duplicate"
            assert rest.end == whole.end


async def test_a_checkpoint_outlives_its_last_product_and_keeps_watermark_and_estimates() -> None:
    admin = shop_of(9)
    async with reading(admin) as shop:
        first = (await shop.read(batch=3)).batches[0]
        admin.products = [node for node in admin.products if not node["id"].endswith("/3")]
        admin.on_reply = None
        rest = await shop.read(batch=3, checkpoint=first.checkpoint)
    assert rest.ids == ["4", "5", "6", "7", "8", "9"]
    assert (rest.end.source_count, rest.end.emitted_count) == (8, 9)
    assert rest.header.estimated_product_count == 9
    assert rest.header.watermark == NOON


async def test_foreign_and_outdated_checkpoints_are_distinguished() -> None:
    async with reading(shop_of(3)) as shop:
        batch = (await shop.read()).batches[0]
        with pytest.raises(CheckpointInvalid):
            await shop.read(checkpoint=b"junk")
        with pytest.raises(CheckpointExpired):
            await shop.read(checkpoint=batch.checkpoint, after=NOON)
        request = FetchRequest(shop=Shop("shopify", "other.myshopify.com"), checkpoint=batch.checkpoint)
        with pytest.raises(CheckpointInvalid):
            await anext(shop.platform.fetch(request, on_wait=shop.waits.append))


async def test_only_the_next_page_is_prefetched_while_the_current_one_is_consumed() -> None:
    admin = shop_of(8)
    async with reading(admin) as shop:
        events = shop.platform.fetch(FetchRequest(shop=SHOP, max_batch_products=2), on_wait=shop.waits.append)
        await anext(events)
        await anext(events)
        for _ in range(3):
            # Whatever was requested before this call would have arrived before it.
            await shop.platform.check(SHOP)
        assert admin.count("ProductPage") == 2
        await events.aclose()
    assert admin.max_running == 1


async def test_closing_a_pass_cancels_the_prefetch() -> None:
    admin = shop_of(8)
    async with reading(admin) as shop:
        before = asyncio.all_tasks()
        events = shop.platform.fetch(FetchRequest(shop=SHOP, max_batch_products=2), on_wait=shop.waits.append)
        await anext(events)
        await anext(events)
        await events.aclose()
        left = {task for task in asyncio.all_tasks() - before if "_load" in repr(task.get_coro())}
    assert left == set()


async def test_products_created_during_the_pass_are_found_after_the_last_one() -> None:
    admin = shop_of(4)

    def grow(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage" and len(admin.products) < 7:
            admin.products.append(product_node(len(admin.products) + 1))

    admin.on_reply = grow
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.ids == ["1", "2", "3", "4", "5", "6", "7"]
    assert (found.end.source_count, found.end.emitted_count) == (7, 7)


async def test_a_pass_with_fewer_products_than_shopify_counts_fails() -> None:
    admin = shop_of(4)
    admin.phantom_products = 1
    async with reading(admin) as shop:
        with pytest.raises(SourceCountMismatch) as failure:
            await shop.read()
    assert failure.value.metadata["expected"] == "5"
    assert failure.value.metadata["received"] == "4"
    assert admin.count("ProductPage") == 2, "it read again before it failed"


async def test_products_deleted_during_the_pass_do_not_fail_it() -> None:
    admin = shop_of(6)

    def shrink(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            admin.products = [node for node in admin.products if not node["id"].endswith("/1")]

    admin.on_reply = shrink
    async with reading(admin) as shop:
        end = (await shop.read(batch=2)).end
    assert (end.source_count, end.emitted_count) == (5, 6)


async def test_an_incremental_pass_reads_what_changed_within_its_window() -> None:
    admin = FakeAdmin(
        products=[
            product_node(1, updatedAt="2026-11-01T00:00:00Z"),
            product_node(2, updatedAt="2026-11-10T00:00:00Z"),
            product_node(3, updatedAt="2026-11-09T23:59:59Z"),
            product_node(4, updatedAt="2026-11-21T00:00:00Z"),
        ]
    )
    async with reading(admin) as shop:
        found = await shop.read(after=datetime(2026, 11, 10, tzinfo=UTC))
    assert found.ids == ["2"]
    assert (found.end.source_count, found.end.emitted_count) == (1, 1)
    pages = [variables for name, variables in admin.calls if name == "ProductPage"]
    assert pages[0]["query"] == "updated_at:>='2026-11-10T00:00:00Z' AND updated_at:<='2026-11-20T10:00:00Z'"


async def test_a_filter_that_shopify_ignores_fails_the_pass() -> None:
    warning = {"path": ["products"], "warnings": [{"field": "updated_at", "code": "invalid_field"}]}
    admin = shop_of(2)

    def warn(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            body["extensions"]["search"] = [warning]

    admin.on_reply = warn
    async with reading(admin) as shop:
        with pytest.raises(SourceQueryRefused, match="updated_at: invalid_field"):
            await shop.read(after=NOON)


async def test_a_page_that_repeats_does_not_loop_forever() -> None:
    admin = shop_of(4)

    def repeat(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            body["data"]["products"]["pageInfo"] = {"hasNextPage": True, "endCursor": "2"}

    admin.on_reply = repeat
    async with reading(admin) as shop:
        with pytest.raises(SourceQueryRefused, match="where this one did"):
            await shop.read(batch=2)


async def test_a_duplicate_product_is_reported_and_not_delivered_twice() -> None:
    admin = shop_of(4)

    def overlap(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage" and variables["after"]:
            body["data"]["products"]["nodes"].insert(0, product_node(1))

    admin.on_reply = overlap
    async with reading(admin) as shop:
        found = await shop.read(batch=2)
    assert found.ids == ["1", "2", "3", "4"]
    assert [(issue.reason, issue.product_rejected) for issue in found.issues] == [
        (IssueReason.DUPLICATE_ID, False)
    ]
    assert (found.end.emitted_count, found.end.rejected_count) == (4, 0)


async def test_a_rejected_product_is_counted_and_the_pass_continues() -> None:
    admin = shop_of(4)
    admin.products[3]["title"] = None
    async with reading(admin) as shop:
        found = await shop.read(batch=3)
        resumed = await shop.read(batch=3, checkpoint=found.batches[-1].checkpoint)
    assert found.ids == ["1", "2", "3"]
    assert (found.end.emitted_count, found.end.rejected_count, found.end.source_count) == (3, 1, 4)
    assert [issue.product_id for issue in found.issues] == ["4"]
    assert resumed.events[1:] == [found.end], "an issue is not reported twice after a resume"


async def test_a_record_without_an_id_makes_deletions_unsafe_even_after_a_resume() -> None:
    admin = shop_of(3)

    def remove_id(operation: str, variables: Json, body: Json) -> None:
        for node in body["data"].get("products", {"nodes": []})["nodes"][:1]:
            node["id"] = "?"

    admin.on_reply = remove_id
    async with reading(admin) as shop:
        found = await shop.read()
        rest = await shop.read(checkpoint=found.batches[0].checkpoint)
    assert len(found.end.warnings) == 1
    assert rest.end.warnings == found.end.warnings


async def test_batches_stay_below_the_message_limit_with_long_descriptions() -> None:
    admin = FakeAdmin(products=[product_node(number, descriptionHtml="ü" * 30_000) for number in range(1, 31)])
    async with reading(admin, max_body=8_000_000) as shop:
        found = await shop.read()
    assert found.ids == [str(number) for number in range(1, 31)]
    sizes = [sum(len(p.description_html.encode()) for p in batch.products) for batch in found.batches]
    assert max(sizes) < 900_000
    assert admin.sizes("ProductPage") == [250], "one page makes several batches"
    assert len(found.batches) > 1


async def test_images_beyond_the_pages_media_limit_are_read_whether_or_not_a_variant_uses_them() -> None:
    own = {"nodes": [{"id": "gid://shopify/MediaImage/60"}]}
    images = [image_node(number) for number in range(1, 61)]
    product = product_node(1, media={"nodes": images, "pageInfo": {"hasNextPage": False}})
    product["variants"]["nodes"][0]["media"] = own
    admin = FakeAdmin(products=[product, product_node(2, media=product["media"])])

    def cut(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            media = {"nodes": images[:50], "pageInfo": {"hasNextPage": True}}
            for node in body["data"]["products"]["nodes"]:
                node["media"] = media

    admin.on_reply = cut
    async with reading(admin) as shop:
        found = await shop.read()
    image = found.products[0].variants[0].image
    assert image is not None
    assert image.id == "60"
    assert [len(product.images) for product in found.products] == [60, 60]


def test_an_error_without_a_code_is_still_an_error() -> None:
    assert GraphqlError(message="x").code == ""
    assert graphql().status == 200


class LaggingAdmin(FakeAdmin):
    """A search finds a product only some time after its creation; lists and counts without one find it at once."""

    unindexed: frozenset[str] = frozenset()

    def _search(self, query: str | None) -> list[Json]:
        found = super()._search(query)
        return [node for node in found if node["id"] not in self.unindexed] if query else found


async def test_a_resumed_pass_does_not_wait_for_a_product_that_the_index_does_not_show_yet() -> None:
    admin = LaggingAdmin(products=[product_node(number) for number in range(1, 10)])
    async with reading(admin) as shop:
        first = (await shop.read(batch=3)).batches[0]
        new = product_node(10, createdAt="2026-11-20T10:00:05Z")
        admin.products.append(new)
        admin.unindexed = frozenset({new["id"]})
        rest = await shop.read(batch=3, checkpoint=first.checkpoint)
    assert rest.ids[:6] == ["4", "5", "6", "7", "8", "9"]
    assert rest.end.source_count == 9


async def test_a_pass_whose_pages_end_too_early_continues_by_ids() -> None:
    admin = shop_of(20)

    def end(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            body["data"]["products"]["pageInfo"] = {"hasNextPage": False, "endCursor": None}
            body["data"]["products"]["nodes"] = body["data"]["products"]["nodes"] if not variables["query"] else []

    admin.on_reply = end
    async with reading(admin) as shop:
        found = await shop.read(batch=5)
    assert sorted(found.ids, key=int) == [str(number) for number in range(1, 21)]


@pytest.mark.parametrize("after", [None, datetime(2026, 1, 1, tzinfo=UTC)])
async def test_a_pass_during_which_the_currency_changes_fails(after: datetime | None) -> None:
    admin = shop_of(9)

    def change(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            admin.currency = "USD"

    admin.on_reply = change
    async with reading(admin) as shop:
        with pytest.raises(SourceCurrencyChanged) as failure:
            await shop.read(after=after)
    assert (failure.value.metadata["expected"], failure.value.metadata["received"]) == ("EUR", "USD")


async def test_a_pass_is_not_resumed_in_another_currency() -> None:
    admin = shop_of(9)
    async with reading(admin) as shop:
        first = (await shop.read(batch=3)).batches[0]
        admin.currency = "USD"
        with pytest.raises(SourceCurrencyChanged):
            await shop.read(batch=3, checkpoint=first.checkpoint)


@pytest.mark.parametrize("strategy", [ReadStrategy.PAGING, ReadStrategy.IDS])
async def test_an_expired_cursor_is_replaced_by_the_last_id(strategy: ReadStrategy) -> None:
    admin = shop_of(23)
    left = 2

    def expire(operation: str, variables: Json) -> web.Response | None:
        nonlocal left
        if not variables.get("after") or not left:
            return None
        left -= 1
        message = "Invalid cursor for current pagination sort."
        return graphql([{"message": message, "extensions": {"code": "INVALID_CURSOR"}}])

    admin.permanent_fault = expire
    async with reading(admin, strategy=strategy) as shop:
        found = await shop.read(batch=5)
    assert left == 0
    assert found.ids == [str(number) for number in range(1, 24)]
    assert found.issues == []


async def test_an_expired_cursor_of_variants_loses_no_variant() -> None:
    admin = shop_of(2, 5_000)
    left = 1

    def expire(operation: str, variables: Json) -> web.Response | None:
        nonlocal left
        if operation != "SingleProduct" or not variables.get("after") or not left:
            return None
        left -= 1
        return graphql([{"message": "Invalid cursor", "extensions": {"code": "INVALID_CURSOR"}}])

    admin.permanent_fault = expire
    async with reading(admin, max_body=20_000_000) as shop:
        found = await shop.read()
    assert left == 0
    assert [len(product.variants) for product in found.products] == [5_000, 5_000]
