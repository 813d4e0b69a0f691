"""What a pass delivers, on every platform."""

from __future__ import annotations

import asyncio
import html
import re
from collections import Counter
from datetime import UTC, timedelta
from decimal import Decimal

import pytest
from catalogsync_common.failure import InvalidRequest

from connector_svc.domain.fetch import Batch, End, Header
from connector_svc.domain.shop import canonical_domain
from connector_svc.platforms.registry import PLATFORMS
from tests.contract.platforms.conftest import MAKERS
from tests.contract.platforms.harness import PlatformHarness
from tests.contract.platforms.passes import fetch


def test_every_registered_platform_runs_this_suite() -> None:
    registered = {platform.name for platform in PLATFORMS}
    assert {name.partition("-")[0] for name in MAKERS} == registered


async def test_a_pass_is_a_header_then_batches_then_an_end(source: PlatformHarness) -> None:
    found = await fetch(source, batch=40)
    assert [type(event) for event in found.events] == [Header, *[Batch] * len(found.batches), End]
    assert len(found.batches) > 1


async def test_every_product_is_delivered_exactly_once(source: PlatformHarness) -> None:
    found = await fetch(source)
    rejected = [issue.product_id for issue in found.issues if issue.product_rejected]
    assert Counter([*found.ids, *rejected]) == Counter(source.expected().titles.keys())


async def test_the_counts_of_the_end_are_correct(source: PlatformHarness) -> None:
    found = await fetch(source)
    truth = source.expected()
    rejected = sum(issue.product_rejected for issue in found.issues)
    assert found.end.source_count == len(truth.titles)
    assert found.end.emitted_count == len(found.ids)
    assert found.end.rejected_count == rejected
    assert found.end.emitted_count + rejected == found.end.source_count
    assert found.end.emitted_variant_count == sum(len(product.variants) for product in found.products)


async def test_every_item_has_its_product_price_sku_and_stock(source: PlatformHarness) -> None:
    found, truth = (await fetch(source)).variants, source.expected().items
    assert found.keys() == truth.keys()
    for item_id, item in truth.items():
        product, variant = found[item_id]
        assert product.id == item.product_id
        assert (variant.sku, str(variant.price), variant.stock_quantity) == (
            item.sku,
            str(item.price),
            item.stock,
        ), item_id


async def test_html_entities_of_titles_are_decoded(source: PlatformHarness) -> None:
    truth = source.expected().titles
    titles = {product.id: product.title for product in (await fetch(source)).products}
    assert {identifier: html.unescape(truth[identifier]) for identifier in titles} == titles


async def test_values_have_the_types_of_the_domain(source: PlatformHarness) -> None:
    found = await fetch(source)
    for product in found.products:
        assert product.id
        assert isinstance(product.id, str)
        for moment in (product.created_at, product.updated_at):
            assert moment is None or moment.utcoffset() == timedelta()
        for variant in product.variants:
            assert variant.id
            assert isinstance(variant.id, str)
            assert variant.price is None or isinstance(variant.price, Decimal)
        for image in product.images:
            assert re.match("https?://", image.url)
    assert found.header.shop_info.currency_code == source.expected().currency
    assert found.header.watermark.tzinfo is UTC or found.header.watermark.utcoffset() == timedelta()


async def test_an_image_whose_picture_was_replaced_has_another_address_or_version(source: PlatformHarness) -> None:
    product = next(product for product in (await fetch(source)).products if len(product.images) > 1)
    source.replace_picture(product.id)
    (found,) = (await fetch(source, ids=[product.id])).products
    pairs = list(zip(product.images, found.images, strict=True))
    different = [old.id for old, new in pairs if (old.url, old.version) != (new.url, new.version)]
    assert len(different) == source.shows_replaced_pictures


@pytest.mark.parametrize("max_products", [1, 7, 250])
async def test_no_batch_is_larger_than_requested(source: PlatformHarness, max_products: int) -> None:
    found = await fetch(source, batch=max_products)
    assert max(len(batch.products) for batch in found.batches) <= max_products
    assert set(found.ids) == set(source.expected().titles)


async def test_an_empty_shop_has_a_header_and_an_end_of_zeros(empty: PlatformHarness) -> None:
    found = await fetch(empty)
    assert found.header.shop_info.currency_code == empty.expected().currency
    assert found.ids == []
    counts = (found.end.source_count, found.end.emitted_count, found.end.rejected_count)
    assert (*counts, found.end.emitted_variant_count) == (0, 0, 0, 0)
    assert found.end.warnings == ()


async def test_a_check_agrees_with_the_pass(source: PlatformHarness) -> None:
    info = await source.platform.check(source.shop)
    found = await fetch(source)
    assert info.currency_code == found.header.shop_info.currency_code
    assert info.served_api_version == found.header.shop_info.served_api_version
    assert info.product_count == found.end.source_count


async def test_an_incremental_pass_delivers_only_what_changed(source: PlatformHarness) -> None:
    assert source.platform.capabilities.incremental
    changed = sorted(source.expected().titles)[10]
    before = source.change_product(changed)
    found = await fetch(source, after=before)
    assert changed in found.ids
    assert len(found.ids) < 10
    assert found.end.source_count == len(found.ids)


async def test_products_deleted_during_a_pass_hide_no_others(source: PlatformHarness) -> None:
    """Rows move up after a deletion; a reader that counts rows misses those that moved."""
    stable = set(source.expected().titles)
    first = await fetch(source, batch=20, batches=1)
    for deleted in first.ids[:5]:
        source.delete_product(deleted)
        stable.discard(deleted)
    rest = await fetch(source, batch=20, checkpoint=first.batches[-1].checkpoint)
    seen = Counter([*first.ids, *rest.ids])
    assert stable <= set(seen)
    assert set(seen.values()) == {1}


async def test_a_product_created_during_a_pass_affects_no_other(source: PlatformHarness) -> None:
    stable = set(source.expected().titles)
    first = await fetch(source, batch=20, batches=1)
    source.add_product()
    rest = await fetch(source, batch=20, checkpoint=first.batches[-1].checkpoint)
    seen = Counter([*first.ids, *rest.ids])
    assert stable <= set(seen)
    assert set(seen.values()) == {1}


async def test_closing_a_reader_leaves_no_task_running(source: PlatformHarness) -> None:
    before = asyncio.all_tasks()
    await fetch(source, batch=5, batches=2)
    left = {task for task in asyncio.all_tasks() - before if "connector_svc" in repr(task.get_coro())}
    assert left == set()


def test_the_domain_pattern_accepts_the_shop_and_no_disguise(source: PlatformHarness) -> None:
    pattern, example = source.platform.domain_pattern, source.platform.domain_example
    domain = source.shop.domain
    assert canonical_domain(f"{domain.upper()}.", pattern, example) == domain
    assert canonical_domain(example, pattern, example) == example
    disguises = ["", f"{domain}\n", f" {domain}", f"evil.com#{domain}", f"evil.com/{domain}", f"u@{domain}"]
    disguises += [f"{domain}:80", "127.0.0.1", "[::1]", "localhost", "0x7f.1", f"{domain}..", f"{domain}%00"]
    for disguise in disguises:
        with pytest.raises(InvalidRequest):
            canonical_domain(disguise, pattern, example)


def test_the_domain_pattern_is_valid_in_re2(source: PlatformHarness) -> None:
    """Clients in other languages check domains with it before a call."""
    assert not re.search(r"\(\?[=!<>]|\\[1-9]|[*+?}]\+|\\Z", source.platform.domain_pattern)
