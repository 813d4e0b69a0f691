"""What a publisher may get wrong or do otherwise; each is switched on for a shop at its start or while it runs."""

from __future__ import annotations

from enum import Enum

FORMATS = ("ndjson", "ndjson.gz", "csv", "csv.gz")


class FeedQuirk(Enum):
    """One way in which a feed differs from the plainest one."""

    WRONG_HASH = "wrong-hash"
    """The manifest is signed over another SHA-256 than the file's."""
    WRONG_COUNT = "wrong-count"
    """The manifest counts one product more than there are."""
    WRONG_ROWS = "wrong-rows"
    """The manifest counts one row more than there are."""
    STALE = "stale"
    """The manifest is past its own validity: the job that publishes it has stopped."""
    FUTURE = "future"
    """The publisher's clock is a day ahead."""
    WRONG_SIGNATURE = "wrong-signature"
    """Signed with a secret that nobody gave us."""
    TWO_SIGNATURES = "two-signatures"
    """Signed with a new secret first and with ours second, as while secrets change."""
    TRUNCATED_GZIP = "truncated-gzip"
    """The file breaks off in the middle of its gzip data, and the manifest vouches for just that."""
    NO_RANGES = "no-ranges"
    """The host knows no Range requests and always sends the whole file."""
    FIXED_NAMES = "fixed-names"
    """A new file is written over the old one instead of beside it."""
    NO_DELTAS = "no-deltas"
    """Only the full file is published."""
    BOM = "bom"
    """A byte order mark stands before the first line."""
    CRLF = "crlf"
    """Lines end as on Windows."""
    QUOTED_NEWLINES = "quoted-newlines"
    """Descriptions hold line ends, quotes and commas."""
    LONG_TITLE = "long-title"
    """One more product, whose title has 70,000 characters."""
    DUPLICATE_IDS = "duplicate-ids"
    """The first product comes once more at the end."""
