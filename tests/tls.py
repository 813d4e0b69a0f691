"""TLS contexts of the clients under test."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a client context that trusts only the CA certificates in `ca_file`; without a file it trusts none.

    Loading the system's root certificates takes 20 ms, which tests against the devstore do not need.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
