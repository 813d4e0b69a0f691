"""Joins the JSONL rows of a bulk result on disk: each product with its variants, media and images of variants.

A row names its parent and may stand anywhere after it, so no product is known to be complete before the end of the
file. The rows are stored in a temporary SQLite database: memory holds its cache and one page of products, whatever
the size of the catalog. The file has no name and disappears with the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from connector_svc.platforms.shopify.queries import SINGLE_MEDIA
from connector_svc.platforms.shopify.wire import numeric_id

_CACHE_KIB = 8 * 1024
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE product (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE variant (
  product INTEGER, seq INTEGER, id INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (product, seq)
) WITHOUT ROWID;
CREATE TABLE medium (
  product INTEGER, seq INTEGER, is_image INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (product, seq)
) WITHOUT ROWID;
CREATE TABLE variant_medium (variant INTEGER PRIMARY KEY, medium TEXT NOT NULL);
"""


class InvalidRow(Exception):
    """A row is not a JSON object, or a product without an id: the file is not a bulk result."""


class _Row(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    parent: str = msgspec.field(name="__parentId", default="")


_ROW = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedProduct:
    """A product with all rows that arrived for it."""

    product_id: int
    node: bytes
    """JSON like `product` in the response to a query for this product alone."""
    media_count: int
    """Media of all kinds that arrived."""
    variant_images_known: bool
    """Whether the image of every variant is known, or the product has no media."""
    size_bytes: int


@dataclass(slots=True)
class _RowsByTable:
    """Rows of one chunk of the file, by table."""

    products: list[tuple[int, bytes]] = field(default_factory=list)
    variants: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    media: list[tuple[int, int, bool, bytes]] = field(default_factory=list)
    variant_media: list[tuple[int, str]] = field(default_factory=list)


class BulkJoin:
    """The rows of products after the id `after`; for one thread at a time.

    Raises sqlite3.Error when the disk is full.
    """

    def __init__(self, *, after: int) -> None:
        self.rows = 0
        """All rows that arrived, needed or not."""
        self.root_rows = 0
        """Rows of products that arrived."""
        self._after = after
        # An empty name is a temporary file that SQLite removes by itself.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.executescript(f"PRAGMA cache_size = -{_CACHE_KIB}; {_SCHEMA}")

    def close(self) -> None:
        """Release the disk space."""
        self._database.close()

    def add(self, lines: Iterable[bytes]) -> None:
        """Store rows of the file. Raises InvalidRow."""
        rows = _RowsByTable()
        for line in lines:
            self.rows += 1
            self._sort(line.strip(), rows)
        database = self._database
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO product VALUES (?, ?)", rows.products)
        database.executemany("INSERT INTO variant VALUES (?, ?, ?, ?)", rows.variants)
        database.executemany("INSERT INTO medium VALUES (?, ?, ?, ?)", rows.media)
        # A variant may have several media; its image is the first.
        database.executemany("INSERT OR IGNORE INTO variant_medium VALUES (?, ?)", rows.variant_media)
        database.execute("COMMIT")

    @property
    def product_count(self) -> int:
        """The number of products after `after`."""
        return int(self._database.execute("SELECT count(*) FROM product").fetchone()[0])

    @property
    def last_product_id(self) -> int:
        """The highest product id; 0 without any product."""
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM product").fetchone()[0])

    def page(self, after: int, *, max_products: int, max_bytes: int) -> list[JoinedProduct]:
        """Return the next products in id order, until one of the limits is reached; empty: no more."""
        page: list[JoinedProduct] = []
        size_bytes = 0
        for product in self._joined_products(after, max_products):
            page.append(product)
            size_bytes += product.size_bytes
            if size_bytes >= max_bytes:
                break
        return page

    def _sort(self, line: bytes, rows: _RowsByTable) -> None:
        row = _decode_row(line)
        if not row.parent:
            product_id = int(numeric_id(row.id, "Product") or 0)
            if not product_id:
                raise InvalidRow("a row is no product and names no parent")
            self.root_rows += 1
            if product_id > self._after:
                rows.products.append((product_id, line))
            return
        product_id = int(numeric_id(row.parent, "Product") or 0)
        if product_id:
            if product_id > self._after:
                self._sort_child(product_id, row, line, rows)
            return
        variant_id = int(numeric_id(row.parent, "ProductVariant") or 0)
        if variant_id and row.id:
            rows.variant_media.append((variant_id, row.id))

    def _sort_child(self, product_id: int, row: _Row, line: bytes, rows: _RowsByTable) -> None:
        """Skip a row without a usable id: the product's counts then do not agree, and it is read alone."""
        variant_id = int(numeric_id(row.id, "ProductVariant") or 0)
        if variant_id:
            rows.variants.append((product_id, self.rows, variant_id, line))
        elif row.id:
            rows.media.append((product_id, self.rows, bool(numeric_id(row.id, "MediaImage")), line))

    def _joined_products(self, after: int, max_products: int) -> Iterator[JoinedProduct]:
        database = self._database
        query = "SELECT id, body FROM product WHERE id > ? ORDER BY id LIMIT ?"
        for product_id, body in database.execute(query, (after, max_products)).fetchall():
            variants = database.execute(
                "SELECT body, medium FROM variant LEFT JOIN variant_medium ON variant_medium.variant = variant.id"
                " WHERE product = ? ORDER BY seq",
                (product_id,),
            ).fetchall()
            media = database.execute(
                "SELECT is_image, body FROM medium WHERE product = ? ORDER BY seq", (product_id,)
            ).fetchall()
            images = [line for is_image, line in media if is_image]
            node = _join(body, [_with_medium(line, medium) for line, medium in variants], images)
            yield JoinedProduct(
                product_id=product_id,
                node=node,
                media_count=len(media),
                variant_images_known=not media or all(medium for _, medium in variants),
                size_bytes=len(node),
            )


def _decode_row(line: bytes) -> _Row:
    try:
        return _ROW.decode(line)
    except msgspec.ValidationError:
        return _decode_row_loosely(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRow("a row is not valid JSON") from error


def _decode_row_loosely(line: bytes) -> _Row:
    """Decode a row whose id or parent is not a string."""
    values = msgspec.json.decode(line)
    if not isinstance(values, dict):
        raise InvalidRow("a row is not a JSON object")
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    return _Row(id=texts.get("id", ""), parent=texts.get("__parentId", ""))


def _with_medium(line: bytes, medium: str | None) -> bytes:
    nodes = b"" if medium is None else b'{"id":' + msgspec.json.encode(medium) + b"}"
    return line[:-1] + b',"media":{"nodes":[' + nodes + b"]}}"


def _join(product: bytes, variants: list[bytes], images: list[bytes]) -> bytes:
    """Return the JSON of a product with its variants and images, as a query for it alone would return it."""
    has_more_images = b"true" if len(images) > SINGLE_MEDIA else b"false"
    return b"".join(
        (
            product[:-1],
            b',"variants":{"nodes":[',
            b",".join(variants),
            b'],"pageInfo":{"hasNextPage":false}},"media":{"nodes":[',
            b",".join(images[:SINGLE_MEDIA]),
            b'],"pageInfo":{"hasNextPage":',
            has_more_images,
            b"}}}",
        )
    )
