"""Which shops a client may act on: those of its domain, or of its merchant.

A shop of another client and a shop that does not exist have the same failure, with the same text: it does not
reveal which shops exist.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from catalogsync_common.failure import InvalidRequest
from catalogsync_common.principal import Principal, PrincipalKind, current_principal

from catalog_svc.domain.errors import ShopNotFound, SyncNotFound
from catalog_svc.domain.ids import shop_id_of
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.status import ANY_SHOP, ShopFilter
from catalog_svc.rpc.request_validator import RequestValidator
from catalog_svc.usecases.catalog_ports import Shops

_MAX_KNOWN_SHOPS: Final = 20_000
_MAX_AGE_SECONDS: Final = 10.0
"""How long a shop is remembered: after a change of its merchant the old one keeps access for as long."""

_authorized_shop: Final[ContextVar[UUID | None]] = ContextVar("authorized_shop", default=None)


def authorized_shop() -> UUID | None:
    """Return the shop to which the present call of a client is restricted; None: it is not restricted to one.

    The database shows a restricted call no rows of other shops, whatever its statements ask for.
    """
    return _authorized_shop.get()


def restricted(which: ShopFilter) -> ShopFilter | None:
    """Return the filter of a list of shops with the restrictions of the present principal.

    None: a client asks for the shops of another merchant, and has none of them.
    """
    principal = current_principal()
    if principal.kind is not PrincipalKind.CLIENT:
        return which
    if principal.domain:
        return replace(which, domain=principal.domain)
    if which.merchant_id not in ("", principal.merchant_id):
        return None
    return replace(which, merchant_id=principal.merchant_id)


def own_shops() -> ShopFilter:
    """Return the filter of the shops that the present principal may know of."""
    return restricted(ANY_SHOP) or ANY_SHOP


def check_own(ref: ShopRef, shop: Shop) -> Shop:
    """Return the shop that a request names in a field that clients may leave out.

    Raises:
        ShopNotFound: It is not the client's own.
    """
    principal = current_principal()
    if principal.kind is PrincipalKind.CLIENT and not _is_own(principal, shop):
        raise ShopNotFound(ref)
    return shop


class OwnShops:
    """A `ShopAccess` by the directory of shops."""

    def __init__(self, shops: Shops, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shops = shops
        self._monotonic = monotonic
        self._known: OrderedDict[UUID, tuple[float, Shop]] = OrderedDict()

    async def check(self, principal: Principal, request: Any, shop_field: str) -> None:
        """Raise unless the client owns the shop that the field names, and restrict the call to that shop.

        Raises:
            InvalidRequest: The field is missing or malformed.
            ShopNotFound: The shop does not exist, or is not the client's own.
            SyncNotFound: The same, of a field that is a sync id.
        """
        if not shop_field:
            return
        if shop_field == "sync_id":
            await self._check_sync(principal, request.sync_id)
        elif request.HasField(shop_field):
            await self._check_shop(principal, getattr(request, shop_field))
        else:
            raise InvalidRequest.of(shop_field, "is required: a client's token gives access to its own shops only")

    async def _check_sync(self, principal: Principal, value: str) -> None:
        validator = RequestValidator()
        sync_id = validator.sync_id(value)
        validator.raise_if_any()
        if not await self._owns(principal, shop_id_of(sync_id)):
            raise SyncNotFound(sync_id)
        _restrict_call(shop_id_of(sync_id))

    async def _check_shop(self, principal: Principal, message: Any) -> None:
        validator = RequestValidator()
        ref = validator.shop(message)
        validator.raise_if_any()
        if isinstance(ref, UUID):
            if not await self._owns(principal, ref):
                raise ShopNotFound(ref)
            _restrict_call(ref)
        elif not await self._owns_key(principal, ref):
            raise ShopNotFound(ref)

    async def _owns_key(self, principal: Principal, key: ShopKey) -> bool:
        """Return whether the client owns the shop, which need not be registered if it is the client's domain."""
        if principal.domain:
            return key.domain == principal.domain
        shop = await self._shops.find(key)
        if shop is None or not _is_own(principal, shop):
            return False
        _restrict_call(shop.shop_id)
        return True

    async def _owns(self, principal: Principal, shop_id: UUID) -> bool:
        shop = await self._find(shop_id)
        return shop is not None and _is_own(principal, shop)

    async def _find(self, shop_id: UUID) -> Shop | None:
        """Return the shop, perhaps as it was some seconds ago: an id and its domain never change."""
        now = self._monotonic()
        known = self._known.get(shop_id)
        if known is not None and now - known[0] < _MAX_AGE_SECONDS:
            self._known.move_to_end(shop_id)
            return known[1]
        shop = await self._shops.find(shop_id)
        if shop is not None:
            self._known[shop_id] = (now, shop)
            self._known.move_to_end(shop_id)
            while len(self._known) > _MAX_KNOWN_SHOPS:
                self._known.popitem(last=False)
        return shop


def _is_own(principal: Principal, shop: Shop) -> bool:
    if principal.domain:
        return shop.key.domain == principal.domain
    return bool(principal.merchant_id) and shop.merchant_id == principal.merchant_id


def _restrict_call(shop_id: UUID) -> None:
    """Restrict the present call to the shop. Each call is a task with a context of its own, which ends with it."""
    _authorized_shop.set(shop_id)
