"""Errors of a published feed, with messages for its publisher.

SourceUnauthorized
└── FeedNotTrusted      no signature was made with one of our secrets
SourceResponseInvalid
├── FeedInvalid         the manifest or a file does not follow the format, or a file does not match the manifest
└── FeedStale           the manifest has expired, is from the future, or is older than what was read before
SourceCountMismatch
└── FeedCountMismatch   a file has other numbers of rows or products than its manifest says
"""

from __future__ import annotations

from connector_svc.domain.errors import SourceCountMismatch, SourceResponseInvalid, SourceUnauthorized


class FeedNotTrusted(SourceUnauthorized):
    """No signature of the manifest was made with one of the shop's secrets."""

    summary = (
        "The feed's signature matches none of our secrets. Connect the shop again with the secret that signs it."
    )


class FeedInvalid(SourceResponseInvalid):
    """The manifest or a file is invalid; the publisher must correct it."""

    summary = "The published feed cannot be used; nothing of it was stored. Its publisher must correct it."


class FeedStale(SourceResponseInvalid):
    """The manifest has expired, is from the future, or is older than what was read before."""

    summary = "The published feed is out of date. Check whether the job that publishes it still runs."


class FeedCountMismatch(SourceCountMismatch):
    """A file matches its hash and not its counts."""

    summary = (
        "The published file has other numbers of rows or products than its manifest says; nothing of it was "
        "stored. Its publisher must correct the counts."
    )


class FileMismatch(Exception):
    """A file is not (or no longer) the one of the manifest; internal, since a newer manifest may explain it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
