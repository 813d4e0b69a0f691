"""Decodes product nodes: a whole page at once when it is sound, else node by node, so that one bad record does not
take its page along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import msgspec

from connector_svc.domain.records import MALFORMED_ERRORS, RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.answer import GraphqlError
from connector_svc.platforms.shopify.blame import Blame, listed_blames, page_blames, single_blame
from connector_svc.platforms.shopify.ids import number_of
from connector_svc.platforms.shopify.wire import (
    Connection,
    ListData,
    PageData,
    PageInfo,
    ProductNode,
    SingleData,
    TypedProduct,
    VariantNode,
)

FrameT = TypeVar("FrameT")

_TYPED_PAGE = msgspec.json.Decoder(PageData[TypedProduct])
_TYPED_LIST = msgspec.json.Decoder(ListData[TypedProduct | None])
_TYPED_SINGLE = msgspec.json.Decoder(SingleData[TypedProduct | None])
_LOOSE_PAGE = msgspec.json.Decoder(PageData[msgspec.Raw])
_LOOSE_LIST = msgspec.json.Decoder(ListData[msgspec.Raw])
_LOOSE_SINGLE = msgspec.json.Decoder(SingleData[msgspec.Raw])
_TYPED_PRODUCT = msgspec.json.Decoder(TypedProduct)
_LOOSE_PRODUCT = msgspec.json.Decoder(ProductNode[msgspec.Raw])
_VARIANT = msgspec.json.Decoder(VariantNode)


class Found(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node of a reply."""

    product_id: str
    """Empty when it has none."""
    node: TypedProduct | None
    """None: it could not be decoded, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    dropped: int = 0
    """Variants that came and are not in `node`."""
    blamed: bool = False
    """Whether the platform reported an error for it or one of its variants."""


def page_nodes(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> tuple[list[Found], PageInfo]:
    """The nodes of a page. Raises msgspec.DecodeError when not even its frame follows the schema."""
    blames = page_blames(errors)
    if not blames:
        try:
            page = _TYPED_PAGE.decode(data)
        except MALFORMED_ERRORS:
            pass
        else:
            return [_sound(node) for node in page.products.nodes], page.products.page_info
    loose = _framed(_LOOSE_PAGE, data).products
    return [_salvaged(raw, blames.get(index)) for index, raw in enumerate(loose.nodes)], loose.page_info


def listed_nodes(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> list[Found | None]:
    """Of each id that was asked for its node, in that order; None: the platform has no such product (any more).

    Raises msgspec.DecodeError when not even the frame follows the schema.
    """
    blames = listed_blames(errors)
    if not blames:
        try:
            return [None if node is None else _sound(node) for node in _TYPED_LIST.decode(data).nodes]
        except MALFORMED_ERRORS:
            pass
    raws = _framed(_LOOSE_LIST, data).nodes
    return [
        None if bytes(raw) == b"null" and index not in blames else _salvaged(raw, blames.get(index))
        for index, raw in enumerate(raws)
    ]


def single_node(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> Found | None:
    """The one product of a reply; None: the platform has no such product."""
    blame = single_blame(errors)
    if blame is None:
        try:
            node = _TYPED_SINGLE.decode(data).product
        except MALFORMED_ERRORS:
            pass
        else:
            return None if node is None else _sound(node)
    raw = _framed(_LOOSE_SINGLE, data).product
    if blame is None and bytes(raw) == b"null":
        return None
    return _salvaged(raw, blame)


def _framed(decoder: msgspec.json.Decoder[FrameT], data: msgspec.Raw) -> FrameT:
    try:
        return decoder.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("the frame of the page is no UTF-8") from error


def _sound(node: TypedProduct) -> Found:
    return Found(product_id=number_of(node.id, "Product"), node=node)


def _salvaged(raw: msgspec.Raw, blame: Blame | None) -> Found:
    if blame is None:
        try:
            return _sound(_TYPED_PRODUCT.decode(raw))
        except MALFORMED_ERRORS:
            blame = Blame()
            blamed = False
    else:
        blamed = True
    product_id = _id_in(raw, "Product")
    if blame.product is not None:
        issue = issues.reported(blame.product, product_id=product_id, is_product=True)
        return Found(product_id=product_id, node=None, issues=(issue,), blamed=True)
    try:
        loose = _LOOSE_PRODUCT.decode(raw)
    except MALFORMED_ERRORS as error:
        issue = issues.undecodable(raw, error, product_id=product_id, is_product=True)
        return Found(product_id=product_id, node=None, issues=(issue,), blamed=blamed)
    return _with_sound_variants(loose, product_id, blame.variants, blamed)


def _with_sound_variants(
    loose: ProductNode[msgspec.Raw], product_id: str, blamed: Mapping[int, GraphqlError], is_blamed: bool
) -> Found:
    sound: list[VariantNode] = []
    wrong: list[RecordIssue] = []
    for index, raw in enumerate(loose.variants.nodes):
        if index in blamed:
            variant_id = _id_in(raw, "ProductVariant")
            wrong.append(
                issues.reported(blamed[index], product_id=product_id, variant_id=variant_id, is_product=False)
            )
            continue
        try:
            sound.append(_VARIANT.decode(raw))
        except MALFORMED_ERRORS as error:
            variant_id = _id_in(raw, "ProductVariant")
            wrong.append(
                issues.undecodable(raw, error, product_id=product_id, variant_id=variant_id, is_product=False)
            )
    node = _typed(loose, sound)
    return Found(product_id=product_id, node=node, issues=tuple(wrong), dropped=len(wrong), blamed=is_blamed)


def _typed(loose: ProductNode[msgspec.Raw], variants: list[VariantNode]) -> TypedProduct:
    connection = Connection(nodes=variants, page_info=loose.variants.page_info)
    return cast("TypedProduct", msgspec.structs.replace(loose, variants=connection))


def _id_in(raw: msgspec.Raw, kind: str) -> str:
    value = issues.readable(raw)
    gid = value.get("id") if isinstance(value, dict) else None
    return number_of(gid, kind) if isinstance(gid, str) else ""
