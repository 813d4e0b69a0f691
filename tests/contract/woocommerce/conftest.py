"""Certificates for the replay stores."""

from __future__ import annotations

import pytest

from devstore.tls import TlsFiles, ensure_certificates


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """Return certificates of a CA that only tests trust."""
    return ensure_certificates(tmp_path_factory.mktemp("tls"))
