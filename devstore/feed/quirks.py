"""Quirks of a feed's publisher: each can be switched on for a shop at its start or while it runs."""

from __future__ import annotations

from enum import Enum

FORMATS = ("ndjson", "ndjson.gz", "csv", "csv.gz")


class FeedQuirk(Enum):
    """One way in which a feed differs from a plain, correct one."""

    WRONG_HASH = "wrong-hash"
    """The manifest states another SHA-256 than the file's."""
    WRONG_COUNT = "wrong-count"
    """The manifest counts one product more than the file has."""
    WRONG_ROWS = "wrong-rows"
    """The manifest counts one row more than the file has."""
    STALE = "stale"
    """The manifest's validity has ended: the job that publishes it has stopped."""
    FUTURE = "future"
    """The publisher's clock is a day ahead."""
    WRONG_SIGNATURE = "wrong-signature"
    """The manifest is signed with an unknown secret."""
    TWO_SIGNATURES = "two-signatures"
    """The manifest is signed with a new secret first and the current one second, as during a key rotation."""
    TRUNCATED_GZIP = "truncated-gzip"
    """The file ends in the middle of its gzip data; the manifest states the truncated file's hash and size."""
    NO_RANGES = "no-ranges"
    """The host ignores Range headers and always sends the whole file."""
    FIXED_NAMES = "fixed-names"
    """A new file overwrites the old one."""
    NO_DELTAS = "no-deltas"
    """Only the full file is published."""
    BOM = "bom"
    """The file starts with a byte order mark."""
    CRLF = "crlf"
    """Lines end with CR LF."""
    QUOTED_NEWLINES = "quoted-newlines"
    """Descriptions contain line ends, quotes and commas."""
    LONG_TITLE = "long-title"
    """There is one more product, whose title has 70,000 characters."""
    DUPLICATE_IDS = "duplicate-ids"
    """The first product is repeated at the end."""
