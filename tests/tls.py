"""What tests trust over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path


def only(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the certificates of this file, or nobody.

    Loading the system's roots takes 20 ms, which a thousand tests would spend on nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
