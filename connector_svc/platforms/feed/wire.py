"""What a publisher writes. The published JSON Schema is made of these, so that what it allows is what we take.

A field without a default is vital: a record that lacks it is set aside instead of being stored with a guess.


The published JSON Schema: `python -m connector_svc.platforms.feed.wire > docs/custom-feed.schema.json`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

FORMAT: Final = "catalogsync-feed/1"
MAX_FILE_BYTES: Final = 1024**3
MAX_VARIANTS: Final = 4_000
"""Of one product."""

Moment: TypeAlias = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its offset from UTC.")]
Money: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,15}(\.[0-9]{1,9})?$",
        description='A decimal number as text, such as "7.30"; never negative, never a JSON number.',
    ),
]
Text: TypeAlias = Annotated[str, Meta(max_length=1_000)]
Name: TypeAlias = Annotated[str, Meta(max_length=255)]
Url: TypeAlias = Annotated[str, Meta(pattern=r"^https?://", max_length=4_000)]
TextId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
NumberId: TypeAlias = Annotated[int, Meta(ge=0)]
RecordId: TypeAlias = TextId | NumberId
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Quantity: TypeAlias = Annotated[int, Meta(ge=-(2**53), le=2**53)]


class ImageLine(msgspec.Struct, kw_only=True, frozen=True):
    """A picture."""

    url: Url
    id: Name = ""
    alt_text: Text = ""
    width: Annotated[int, Meta(ge=0, le=10**6)] = 0
    height: Annotated[int, Meta(ge=0, le=10**6)] = 0


class ChoiceLine(msgspec.Struct, kw_only=True, frozen=True):
    """A variant's value of one option."""

    name: Name
    value: Name


class VariantLine(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that can be bought."""

    id: RecordId
    title: Text = ""
    sku: Name = ""
    barcode: Name = ""
    price: Money | None = None
    compare_at_price: Money | None = None
    stock_quantity: Quantity | None = None
    """Null: not counted."""
    inventory_policy: Literal["", "deny", "continue"] = ""
    available: bool | None = None
    """Null: follows from price, stock and policy."""
    options: Annotated[list[ChoiceLine], Meta(max_length=20)] = []
    image: ImageLine | None = None
    weight: Money | None = None
    weight_unit: Literal["", "g", "kg", "oz", "lb"] = ""
    created_at: Moment | None = None
    updated_at: Moment | None = None


class ProductLine(msgspec.Struct, kw_only=True, frozen=True):
    """A product with all its variants: one line of an NDJSON feed."""

    id: RecordId
    title: Annotated[str, Meta(max_length=2_000)]
    variants: Annotated[list[VariantLine], Meta(max_length=MAX_VARIANTS)]
    handle: Text = ""
    description_html: Annotated[str, Meta(max_length=120_000)] = ""
    vendor: Text = ""
    product_type: Text = ""
    tags: Annotated[list[Name], Meta(max_length=1_000)] = []
    status: Literal["active", "draft", "archived", "unlisted", "private"] = "active"
    url: Url | Literal[""] = ""
    images: Annotated[list[ImageLine], Meta(max_length=250)] = []
    created_at: Moment | None = None
    updated_at: Moment | None = None
    deleted: bool = False
    """True: gone, whatever else the line says."""


class TombstoneLine(msgspec.Struct, kw_only=True, frozen=True):
    """A product that is gone."""

    id: RecordId
    deleted: bool


class FeedFile(msgspec.Struct, kw_only=True, frozen=True):
    """One file, as its publisher vouches for it."""

    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._~/-]+$", max_length=1_000)]
    """On the host of the manifest."""
    format: Literal["ndjson", "csv"]
    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    """Of the file as it is served, compressed if it is."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the same bytes."""
    row_count: Count
    """Lines of NDJSON, or rows of CSV without the header; blank lines do not count."""
    product_count: Count
    """Different products in the file, tombstones not counted."""
    compression: Literal["none", "gzip"] = "none"
    item_count: Count | None = None
    """Variants; only for the progress bar."""


class DeltaFile(FeedFile, kw_only=True, frozen=True):
    """Everything that changed or went since a time."""

    since: Moment


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """What is published now."""

    format: Literal["catalogsync-feed/1"]
    domain: Annotated[str, Meta(min_length=1, max_length=253)]
    """The shop's, so that one shop's manifest cannot stand for another's."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
    """ISO 4217, of all prices."""
    generated_at: Moment
    """Before the first row was read from the publisher's database."""
    valid_until: Moment
    """When this manifest shall no longer be believed."""
    full: FeedFile
    shop_name: Text = ""
    deltas: Annotated[list[DeltaFile], Meta(max_length=20)] = []


class SignedManifest(msgspec.Struct, kw_only=True, frozen=True):
    """The file at the well-known address: the manifest's text, and the signatures of exactly that text."""

    manifest: Annotated[str, Meta(max_length=256 * 1024)]
    signatures: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]], Meta(min_length=1, max_length=4)]


_TYPES = (SignedManifest, Manifest, FeedFile, DeltaFile, ProductLine, TombstoneLine)


def json_schema() -> dict[str, Any]:
    """Definitions of the signed manifest, of the manifest inside it, and of the lines of a file."""
    _, definitions = msgspec.json.schema_components(_TYPES, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "catalogsync-feed/1",
        "description": "SignedManifest is the file at the well-known address; Manifest is its text; "
        "ProductLine and TombstoneLine are the lines of an NDJSON file.",
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _TYPES],
        "$defs": definitions,
    }


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
