"""A replaced picture is another image of its items in the catalog, also at the same address; a price is not."""

from __future__ import annotations

import pytest

from tests.integration.end_to_end.conftest import EndToEnd, Opens


async def images(shop: EndToEnd) -> dict[str, tuple[str, str, str]]:
    """Return product, address and version of the image of each item that is not deleted."""
    rows = await shop.world.rows(
        "SELECT item_id, product_id, image_url, image_version FROM item WHERE deleted_at IS NULL"
    )
    return {row["item_id"]: (row["product_id"], row["image_url"], row["image_version"]) for row in rows}


@pytest.mark.parametrize("platform", ["shopify", "woocommerce-8.2", "woocommerce-10.3", "bigcommerce"])
async def test_replaced_pictures_change_the_images_of_the_items_of_their_product_only(
    opens: Opens, platform: str
) -> None:
    async with opens(platform, products=20, edge_cases=False) as shop:
        await shop.succeed()
        before = await images(shop)
        product = next(one for one in shop.catalog.products() if one.images)
        shop.catalog.update_product(product.id, title="Changed")
        await shop.succeed()
        assert await images(shop) == before
        for image in product.images:
            shop.catalog.replace_picture(image.id)
        await shop.succeed()
        after = await images(shop)
    changed = {item_id for item_id in before if before[item_id] != after[item_id]}
    assert changed == {item_id for item_id, image in before.items() if image[0] == str(product.id)}
    assert changed
    same_address = {item_id for item_id in changed if before[item_id][1] == after[item_id][1]}
    assert same_address == (changed if platform.startswith("woocommerce") else set())
