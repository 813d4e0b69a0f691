"""The keys and secrets of a demo, made at its first start, and the operator token that it renews while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from catalogsync_common.token_claims import OPERATOR_TOKEN_LIFETIME, SCOPES
from catalogsync_common.token_minting import SigningKey, mint_operator_token

_OPERATOR: Final = "demo"
ISSUER: Final = "demo-bff"
"""The `iss` of tokens of clients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoKeys:
    """Keys ("kid:key") and service secrets ("name:secret")."""

    operator: str = field(repr=False)
    client: str = field(repr=False)
    bff: str = field(repr=False)
    """The secret with which a BFF calls catalog_svc."""
    worker: str = field(repr=False)
    """The secret with which the worker that analyzes images calls catalog_svc."""
    catalog: str = field(repr=False)
    """The secret with which catalog_svc calls connector_svc."""

    @classmethod
    def load_or_create(cls, file: Path) -> DemoKeys:
        """Return the keys in the file; if it is absent or not of this release, write new ones."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            keys = cls(
                operator=_new("operator"),
                client=_new("client"),
                bff=_new("bff"),
                worker=_new("worker"),
                catalog=_new("catalog"),
            )
            write_private(file, json.dumps(asdict(keys)))
            return keys

    @property
    def catalog_settings(self) -> Mapping[str, str]:
        """The settings of catalog_svc."""
        return {
            "CATALOG_OPERATOR_KEYS": self.operator,
            "CATALOG_CLIENT_KEYS": self.client,
            "CATALOG_CLIENT_ISSUER": ISSUER,
            "CATALOG_SERVICE_SECRETS": f"{self.bff},{self.worker}",
            "CATALOG_CONNECTOR_SECRET": self.catalog,
        }

    @property
    def bff_settings(self) -> Mapping[str, str]:
        """The settings of the BFF."""
        return {
            "BFF_SERVICE_SECRET": self.bff,
            "BFF_CLIENT_KEY": self.client,
            "BFF_CLIENT_ISSUER": ISSUER,
            "BFF_DEV_LOGIN": "1",
        }

    @property
    def connector_settings(self) -> Mapping[str, str]:
        """The settings of connector_svc."""
        return {"CONNECTOR_SERVICE_SECRETS": self.catalog}

    def mint(self) -> str:
        """Return a new operator token."""
        return mint_operator_token(SigningKey.parse(self.operator), _OPERATOR, scopes=SCOPES)

    async def keep_token(self, file: Path) -> None:
        """Write a new operator token to the file whenever the last one has used up half of its lifetime."""
        while True:
            write_private(file, self.mint())
            await asyncio.sleep(OPERATOR_TOKEN_LIFETIME.total_seconds() / 2)


def write_private(file: Path, text: str) -> None:
    """Replace a file atomically by one that only its owner can read."""
    temporary = file.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:
        os.fchmod(descriptor, 0o600)
        out.write(text)
    temporary.replace(file)


def _new(name: str) -> str:
    return f"{name}:{secrets.token_urlsafe(48)}"
