"""The rows of a bulk result on disk, until each product and what belongs to it can be taken together.

A row names its parent and may stand anywhere behind it, so no product is known to be whole before the end of the
file. The rows wait in a temporary database of SQLite: memory holds its cache and one page of products, whatever
the size of the catalog. The file has no name; it is gone when the process is.
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
CREATE TABLE shown (variant INTEGER PRIMARY KEY, medium TEXT NOT NULL);
"""


class InvalidRow(Exception):
    """A row is no JSON object, or a product without an id: the file is not what it should be."""


class _Row(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    parent: str = msgspec.field(name="__parentId", default="")


_ROW = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedProduct:
    """A product with everything that came for it."""

    number: int
    node: bytes
    """As `product` in the reply to a query for it alone."""
    media: int
    """How many media came, of all kinds."""
    variant_images_known: bool
    """Whether every variant's image is known, or there is none to show."""
    size: int


@dataclass(slots=True)
class _Sorted:
    """Rows of one piece of the file, by table."""

    products: list[tuple[int, bytes]] = field(default_factory=list)
    variants: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    media: list[tuple[int, int, bool, bytes]] = field(default_factory=list)
    shown: list[tuple[int, str]] = field(default_factory=list)


class BulkJoin:
    """Rows behind the product `after`; for one thread at a time. Raises sqlite3.Error when the disk is full."""

    def __init__(self, *, after: int) -> None:
        self.rows = 0
        """All that came, wanted or not."""
        self.roots = 0
        self._after = after
        # An empty name is a temporary file that SQLite removes by itself.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.executescript(f"PRAGMA cache_size = -{_CACHE_KIB}; {_SCHEMA}")

    def close(self) -> None:
        """Gives the disk back."""
        self._database.close()

    def add(self, lines: Iterable[bytes]) -> None:
        """Keeps some rows of the file. Raises InvalidRow."""
        found = _Sorted()
        for line in lines:
            self.rows += 1
            self._sort(line.strip(), found)
        base = self._database
        base.execute("BEGIN")
        base.executemany("INSERT OR IGNORE INTO product VALUES (?, ?)", found.products)
        base.executemany("INSERT INTO variant VALUES (?, ?, ?, ?)", found.variants)
        base.executemany("INSERT INTO medium VALUES (?, ?, ?, ?)", found.media)
        # A variant may have several media; what it shows is the first.
        base.executemany("INSERT OR IGNORE INTO shown VALUES (?, ?)", found.shown)
        base.execute("COMMIT")

    @property
    def kept(self) -> int:
        """Products behind `after`."""
        return int(self._database.execute("SELECT count(*) FROM product").fetchone()[0])

    @property
    def highest(self) -> int:
        """The highest product id; 0 without any."""
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM product").fetchone()[0])

    def page(self, after: int, *, most: int, most_bytes: int) -> list[JoinedProduct]:
        """The next products in the order of ids, until they are `most` or reach `most_bytes`; empty: no more."""
        found: list[JoinedProduct] = []
        size = 0
        for whole in self._wholes(after, most):
            found.append(whole)
            size += whole.size
            if size >= most_bytes:
                break
        return found

    def _sort(self, line: bytes, found: _Sorted) -> None:
        row = _read(line)
        if not row.parent:
            number = int(numeric_id(row.id, "Product") or 0)
            if not number:
                raise InvalidRow("a row is no product and names no parent")
            self.roots += 1
            if number > self._after:
                found.products.append((number, line))
            return
        product = int(numeric_id(row.parent, "Product") or 0)
        if product:
            if product > self._after:
                self._sort_child(product, row, line, found)
            return
        variant = int(numeric_id(row.parent, "ProductVariant") or 0)
        if variant and row.id:
            found.shown.append((variant, row.id))

    def _sort_child(self, product: int, row: _Row, line: bytes, found: _Sorted) -> None:
        """What has no usable id is left out: the product's counts then do not agree, and it is read alone."""
        variant = int(numeric_id(row.id, "ProductVariant") or 0)
        if variant:
            found.variants.append((product, self.rows, variant, line))
        elif row.id:
            found.media.append((product, self.rows, bool(numeric_id(row.id, "MediaImage")), line))

    def _wholes(self, after: int, most: int) -> Iterator[JoinedProduct]:
        base = self._database
        query = "SELECT id, body FROM product WHERE id > ? ORDER BY id LIMIT ?"
        for number, body in base.execute(query, (after, most)).fetchall():
            variants = base.execute(
                "SELECT body, medium FROM variant LEFT JOIN shown ON shown.variant = variant.id"
                " WHERE product = ? ORDER BY seq",
                (number,),
            ).fetchall()
            media = base.execute(
                "SELECT is_image, body FROM medium WHERE product = ? ORDER BY seq", (number,)
            ).fetchall()
            images = [line for is_image, line in media if is_image]
            node = _joined(body, [_with_medium(line, medium) for line, medium in variants], images)
            yield JoinedProduct(
                number=number,
                node=node,
                media=len(media),
                variant_images_known=not media or all(medium for _, medium in variants),
                size=len(node),
            )


def _read(line: bytes) -> _Row:
    try:
        return _ROW.decode(line)
    except msgspec.ValidationError:
        return _loosely(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRow("a row is no JSON") from error


def _loosely(line: bytes) -> _Row:
    """A row whose id or parent is no text."""
    values = msgspec.json.decode(line)
    if not isinstance(values, dict):
        raise InvalidRow("a row is no JSON object")
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    return _Row(id=texts.get("id", ""), parent=texts.get("__parentId", ""))


def _with_medium(line: bytes, medium: str | None) -> bytes:
    nodes = b"" if medium is None else b'{"id":' + msgspec.json.encode(medium) + b"}"
    return line[:-1] + b',"media":{"nodes":[' + nodes + b"]}}"


def _joined(body: bytes, variants: list[bytes], images: list[bytes]) -> bytes:
    more = b"true" if len(images) > SINGLE_MEDIA else b"false"
    return b"".join(
        (
            body[:-1],
            b',"variants":{"nodes":[',
            b",".join(variants),
            b'],"pageInfo":{"hasNextPage":false}},"media":{"nodes":[',
            b",".join(images[:SINGLE_MEDIA]),
            b'],"pageInfo":{"hasNextPage":',
            more,
            b"}}}",
        )
    )
