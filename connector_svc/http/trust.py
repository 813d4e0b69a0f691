"""Whose TLS certificates we trust. There is no way to trust everyone."""

from __future__ import annotations

import ssl
from pathlib import Path


class CaFileInvalid(ValueError):
    """The file holds no certificates that can be read."""


def trusted_roots(ca_file: Path | None = None) -> ssl.SSLContext:
    """The system's roots, and those of a PEM file. Raises CaFileInvalid."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (ssl.SSLError, OSError):
            raise CaFileInvalid(f"{ca_file} holds no PEM certificates that can be read") from None
    return context
