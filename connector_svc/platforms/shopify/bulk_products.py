"""Products out of the rows of a bulk operation, through the same parser as those of a page."""

from __future__ import annotations

import msgspec

from connector_svc.platforms.shopify.bulk_join import Whole
from connector_svc.platforms.shopify.node_decoding import single_node
from connector_svc.platforms.shopify.record import Record, record_of
from connector_svc.platforms.shopify.wire import Count


class _Counts(msgspec.Struct, frozen=True, rename="camel"):
    media_count: Count | None = None


_COUNTS = msgspec.json.Decoder(_Counts)


def record_from(whole: Whole) -> Record:
    """The product of `whole`; one whose media are not as many as Shopify counts needs a second look."""
    found = single_node(msgspec.Raw(b'{"product":' + whole.node + b"}"), ())
    if found is None:
        raise ValueError("a row that was a product is none")
    record = record_of(found)
    if record.product is None or _has_all_media(whole):
        return record
    return msgspec.structs.replace(record, blamed=True)


def is_proven(whole: Whole, record: Record) -> bool:
    """Whether nothing can be missing, although the file ended early.

    A child may stand anywhere behind its parent, so only counts prove: of variants, of media, and a row with the
    image of every variant, since the image of a variant is counted nowhere.
    """
    counted = record.counted is not None and not record.is_miscounted
    return record.product is not None and counted and not record.blamed and whole.shows_settled


def _has_all_media(whole: Whole) -> bool:
    try:
        counted = _COUNTS.decode(whole.node).media_count
    except msgspec.DecodeError:
        return False
    return counted is not None and counted.agrees_with(whole.media)
