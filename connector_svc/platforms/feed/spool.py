"""A published file on our own disk, proven to be the one that the signed manifest names."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Final

from catalogsync_common.threads import run_in_thread

from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.errors import FileMismatch
from connector_svc.platforms.feed.wire import FeedFile

_IN_MEMORY: Final = 1024 * 1024
"""Bytes; a larger file goes to disk."""


@asynccontextmanager
async def spooled(client: FeedClient, file: FeedFile) -> AsyncIterator[IO[bytes]]:
    """The whole file, until the block ends. Raises FileMismatch when it is another one, SourceFailure.

    Nothing of a file is looked at before its hash is known: whoever may write to the publisher's host, but has not
    the secret, brings no product into the catalog.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as content:
        digest = hashlib.sha256()
        size = 0
        while size < file.bytes:
            piece = await client.piece(file, size)
            size += len(piece)
            await run_in_thread(partial(_keep, piece, content, digest))
        if not hmac.compare_digest(digest.hexdigest(), file.sha256):
            raise FileMismatch("its SHA-256 is not that of the manifest")
        yield content


def _keep(piece: bytes, content: IO[bytes], digest: hashlib._Hash) -> None:
    digest.update(piece)
    content.write(piece)
