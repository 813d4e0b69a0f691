"""What may be wrong with a published feed, in words that its publisher understands.

SourceUnauthorized
└── FeedNotTrusted      signed with none of our secrets
SourceResponseInvalid
├── FeedInvalid         the manifest or a file is not what the format says, or what the manifest says
└── FeedStale           the manifest is past its own validity, of the future, or older than what we read before
SourceCountMismatch
└── FeedCountMismatch   other numbers of rows or products than the manifest says
"""

from __future__ import annotations

from connector_svc.domain.errors import SourceCountMismatch, SourceResponseInvalid, SourceUnauthorized


class FeedNotTrusted(SourceUnauthorized):
    """No signature of the manifest fits a secret that we hold."""

    summary = (
        "The feed's signature fits none of our secrets. Connect the shop again with the secret that signs it."
    )


class FeedInvalid(SourceResponseInvalid):
    """The publisher must repair the feed."""

    summary = "The published feed cannot be used; nothing of it was stored. Its publisher must repair it."


class FeedStale(SourceResponseInvalid):
    """The manifest is not of now."""

    summary = "The published feed is out of date. Check whether the job that publishes it still runs."


class FeedCountMismatch(SourceCountMismatch):
    """The file is whole, and yet its manifest counts otherwise."""

    summary = (
        "The published file holds other numbers than its manifest says; nothing of it was stored. Its publisher "
        "must count what it writes."
    )


class FileMismatch(Exception):
    """A file is not (or no longer) the one of the manifest; internal, since a newer manifest may explain it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
