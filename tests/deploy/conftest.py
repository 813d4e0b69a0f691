"""Secrets of a deployment, as deploy/make-secrets and a certificate authority make them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.deployed import make_secrets
from tests.tls import Authority


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of secrets: one directory for each process, and the Secrets of TLS."""
    directory = tmp_path_factory.mktemp("deploy")
    made = make_secrets(directory)
    add_certificates(made, directory)
    return made


def add_certificates(secrets: Path, directory: Path) -> None:
    """Add what cert-manager writes into the Secrets of the overlay for production."""
    authority = Authority(directory)
    for service in ("catalog", "connector"):
        issued = authority.issue(service, dns=(f"{service}.catalogsync.svc",))
        target = secrets / f"{service}-tls"
        target.mkdir()
        shutil.copy(issued.certificate, target / "tls.crt")
        shutil.copy(issued.key, target / "tls.key")
        shutil.copy(authority.file, target / "ca.crt")
