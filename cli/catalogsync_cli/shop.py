"""The shop as a parameter of a command: `platform:domain`, or the id of a registered shop."""

from __future__ import annotations

import click
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync_client import ShopName, shop_ref


class ShopParam(click.ParamType[ShopName]):
    """A click parameter type for shops."""

    name = "shop"

    def convert(self, value: str | ShopName, param: click.Parameter | None, ctx: click.Context | None) -> ShopName:
        """Return the parsed shop, or fail with a usage error."""
        if isinstance(value, ShopName):
            return value
        try:
            return ShopName.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SHOP = ShopParam()


class ShopRefParam(click.ParamType[catalog.ShopRef]):
    """A click parameter type for registered shops: `platform:domain`, or the id."""

    name = "shop"

    def convert(
        self, value: str | catalog.ShopRef, param: click.Parameter | None, ctx: click.Context | None
    ) -> catalog.ShopRef:
        """Return the parsed reference, or fail with a usage error."""
        try:
            return shop_ref(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SHOP_REF = ShopRefParam()
