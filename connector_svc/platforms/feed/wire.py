"""Structs of the custom feed's format: the manifest, and the lines of an NDJSON file.

The published JSON Schema is generated from these structs, so that it allows exactly what the reader accepts: class
names, class docstrings and the descriptions of types are part of it.

A field without a default is required: a record without it is rejected instead of being stored with a guess.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

FORMAT: Final = "catalogsync-feed/1"
MAX_FILE_BYTES: Final = 1024**3
MAX_VARIANTS: Final = 4_000
"""Per product."""

Timestamp: TypeAlias = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its offset from UTC.")]
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
    """An image."""

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
    """A variant: one item that can be bought."""

    id: RecordId
    title: Text = ""
    sku: Name = ""
    barcode: Name = ""
    price: Money | None = None
    compare_at_price: Money | None = None
    stock_quantity: Quantity | None = None
    """Null: not tracked."""
    inventory_policy: Literal["", "deny", "continue"] = ""
    available: bool | None = None
    """Null: derived from status, price, stock and policy."""
    options: Annotated[list[ChoiceLine], Meta(max_length=20)] = []
    image: ImageLine | None = None
    weight: Money | None = None
    weight_unit: Literal["", "g", "kg", "oz", "lb"] = ""
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None


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
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    deleted: bool = False
    """True: the product is deleted, whatever else the line says."""


class TombstoneLine(msgspec.Struct, kw_only=True, frozen=True):
    """A tombstone: a product that was deleted."""

    id: RecordId
    deleted: bool


class FeedFile(msgspec.Struct, kw_only=True, frozen=True):
    """One file with its size, hash and counts."""

    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._~/-]+$", max_length=1_000)]
    """On the host of the manifest."""
    format: Literal["ndjson", "csv"]
    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    """Size of the file as it is served, after compression."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the file as it is served."""
    row_count: Count
    """Lines of NDJSON, or rows of CSV without the header; blank lines do not count."""
    product_count: Count
    """Distinct products in the file, without tombstones."""
    compression: Literal["none", "gzip"] = "none"
    item_count: Count | None = None
    """Variants; only for the progress bar."""


class DeltaFile(FeedFile, kw_only=True, frozen=True):
    """A file with every product that changed or was deleted since a time."""

    since: Timestamp


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """The current manifest: the shop and its files."""

    format: Literal["catalogsync-feed/1"]
    domain: Annotated[str, Meta(min_length=1, max_length=253)]
    """The shop's, so that one shop's manifest cannot be used for another shop."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
    """ISO 4217, of all prices."""
    generated_at: Timestamp
    """A time before the first row was read from the publisher's database."""
    valid_until: Timestamp
    """The manifest is refused after this time."""
    full: FeedFile
    shop_name: Text = ""
    deltas: Annotated[list[DeltaFile], Meta(max_length=20)] = []


class SignedManifest(msgspec.Struct, kw_only=True, frozen=True):
    """The file at the well-known address: the manifest as text, and the signatures of exactly that text."""

    manifest: Annotated[str, Meta(max_length=256 * 1024)]
    signatures: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]], Meta(min_length=1, max_length=4)]


_SCHEMA_TYPES = (SignedManifest, Manifest, FeedFile, DeltaFile, ProductLine, TombstoneLine)


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of the signed manifest, the manifest inside it, and the lines of a file.

    After a change of this module write it to docs/custom-feed.schema.json:

        python -c 'import json; from connector_svc.platforms.feed.wire import json_schema
        print(json.dumps(json_schema(), indent=2))' > docs/custom-feed.schema.json
    """
    _, definitions = msgspec.json.schema_components(_SCHEMA_TYPES, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "catalogsync-feed/1",
        "description": "SignedManifest is the file at the well-known address; Manifest is its text; "
        "ProductLine and TombstoneLine are the lines of an NDJSON file.",
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _SCHEMA_TYPES],
        "$defs": definitions,
    }
