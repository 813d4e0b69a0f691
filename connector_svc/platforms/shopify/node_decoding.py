"""Decodes product nodes: the whole page at once when it is valid, otherwise node by node.

So one invalid record does not lose its page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import msgspec

from connector_svc.domain.records import MALFORMED_ERRORS, RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.error_mapping import (
    RecordErrors,
    errors_by_id_index,
    errors_by_page_index,
    product_errors,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlError
from connector_svc.platforms.shopify.wire import (
    Connection,
    ListData,
    PageData,
    PageInfo,
    ProductNode,
    SingleData,
    TypedProduct,
    VariantNode,
    numeric_id,
)

FrameT = TypeVar("FrameT")

_TYPED_PAGE = msgspec.json.Decoder(PageData[TypedProduct])
_TYPED_LIST = msgspec.json.Decoder(ListData[TypedProduct | None])
_TYPED_SINGLE = msgspec.json.Decoder(SingleData[TypedProduct | None])
_RAW_PAGE = msgspec.json.Decoder(PageData[msgspec.Raw])
_RAW_LIST = msgspec.json.Decoder(ListData[msgspec.Raw])
_RAW_SINGLE = msgspec.json.Decoder(SingleData[msgspec.Raw])
_TYPED_PRODUCT = msgspec.json.Decoder(TypedProduct)
_PRODUCT_WITH_RAW_VARIANTS = msgspec.json.Decoder(ProductNode[msgspec.Raw])
_VARIANT = msgspec.json.Decoder(VariantNode)


class DecodedNode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A product node of a response, or the reason why it could not be decoded."""

    product_id: str
    """Empty when the node has no usable id."""
    node: TypedProduct | None
    """None: it could not be decoded, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    dropped_variants: int = 0
    """Variants that arrived and are not in `node`."""
    has_error: bool = False
    """Whether Shopify reported an error for the product or one of its variants."""


def decode_page(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> tuple[list[DecodedNode], PageInfo]:
    """Decode the products of a page.

    Raises:
        msgspec.DecodeError: Not even the frame of the page follows the schema.
    """
    errors_by_index = errors_by_page_index(errors)
    if not errors_by_index:
        try:
            page = _TYPED_PAGE.decode(data)
        except MALFORMED_ERRORS:
            pass
        else:
            return [_valid(node) for node in page.products.nodes], page.products.page_info
    products = _decode_frame(_RAW_PAGE, data).products
    return (
        [_salvage(raw, errors_by_index.get(index)) for index, raw in enumerate(products.nodes)],
        products.page_info,
    )


def decode_nodes(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> list[DecodedNode | None]:
    """Decode the products of `nodes(ids:)`.

    Returns:
        One entry per requested id, in that order; None: Shopify has no such product (any more).

    Raises:
        msgspec.DecodeError: Not even the frame of the list follows the schema.
    """
    errors_by_index = errors_by_id_index(errors)
    if not errors_by_index:
        try:
            return [None if node is None else _valid(node) for node in _TYPED_LIST.decode(data).nodes]
        except MALFORMED_ERRORS:
            pass
    raws = _decode_frame(_RAW_LIST, data).nodes
    return [
        None
        if bytes(raw) == b"null" and index not in errors_by_index
        else _salvage(raw, errors_by_index.get(index))
        for index, raw in enumerate(raws)
    ]


def decode_product(data: msgspec.Raw, errors: Iterable[GraphqlError]) -> DecodedNode | None:
    """Decode the one product of a response; None: Shopify has no such product.

    Raises:
        msgspec.DecodeError: Not even the frame follows the schema.
    """
    record_errors = product_errors(errors)
    if record_errors is None:
        try:
            node = _TYPED_SINGLE.decode(data).product
        except MALFORMED_ERRORS:
            pass
        else:
            return None if node is None else _valid(node)
    raw = _decode_frame(_RAW_SINGLE, data).product
    if record_errors is None and bytes(raw) == b"null":
        return None
    return _salvage(raw, record_errors)


def _decode_frame(decoder: msgspec.json.Decoder[FrameT], data: msgspec.Raw) -> FrameT:
    try:
        return decoder.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("the frame of the page is not valid UTF-8") from error


def _valid(node: TypedProduct) -> DecodedNode:
    return DecodedNode(product_id=numeric_id(node.id, "Product"), node=node)


def _salvage(raw: msgspec.Raw, errors: RecordErrors | None) -> DecodedNode:
    """Decode as much of a product as is valid; without `errors` it may be valid as a whole."""
    if errors is None:
        try:
            return _valid(_TYPED_PRODUCT.decode(raw))
        except MALFORMED_ERRORS:
            errors = RecordErrors()
            has_error = False
    else:
        has_error = True
    product_id = _find_id(raw, "Product")
    if errors.product is not None:
        issue = issues.reported(errors.product, product_id=product_id, is_product=True)
        return DecodedNode(product_id=product_id, node=None, issues=(issue,), has_error=True)
    try:
        product = _PRODUCT_WITH_RAW_VARIANTS.decode(raw)
    except MALFORMED_ERRORS as error:
        issue = issues.undecodable(raw, error, product_id=product_id, is_product=True)
        return DecodedNode(product_id=product_id, node=None, issues=(issue,), has_error=has_error)
    return _with_valid_variants(product, product_id, errors.variants, has_error)


def _with_valid_variants(
    product: ProductNode[msgspec.Raw], product_id: str, errors: Mapping[int, GraphqlError], has_error: bool
) -> DecodedNode:
    valid: list[VariantNode] = []
    dropped: list[RecordIssue] = []
    for index, raw in enumerate(product.variants.nodes):
        if index in errors:
            variant_id = _find_id(raw, "ProductVariant")
            dropped.append(
                issues.reported(errors[index], product_id=product_id, variant_id=variant_id, is_product=False)
            )
            continue
        try:
            valid.append(_VARIANT.decode(raw))
        except MALFORMED_ERRORS as error:
            variant_id = _find_id(raw, "ProductVariant")
            dropped.append(
                issues.undecodable(raw, error, product_id=product_id, variant_id=variant_id, is_product=False)
            )
    return DecodedNode(
        product_id=product_id,
        node=_typed(product, valid),
        issues=tuple(dropped),
        dropped_variants=len(dropped),
        has_error=has_error,
    )


def _typed(product: ProductNode[msgspec.Raw], variants: list[VariantNode]) -> TypedProduct:
    connection = Connection(nodes=variants, page_info=product.variants.page_info)
    return cast("TypedProduct", msgspec.structs.replace(product, variants=connection))


def _find_id(raw: msgspec.Raw, kind: str) -> str:
    value = issues.decode_lossy(raw)
    gid = value.get("id") if isinstance(value, dict) else None
    return numeric_id(gid, kind) if isinstance(gid, str) else ""
