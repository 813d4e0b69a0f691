"""Credentials from a TOML file that an operator maintains.

[shopify."demo.myshopify.com"]
access_token = "..."

[shopify."own.myshopify.com"]  # an app of the same organisation: access tokens are requested, and renewed
client_id = "..."
client_secret = "..."

[woocommerce."store.example"]
consumer_key = "..."
consumer_secret = "..."
webhook_secrets = ["..."]  # two during a rotation
"""

from __future__ import annotations

import logging
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, Secret, is_sendable
from connector_svc.platforms.webhooks import named_webhook_secrets

_log = logging.getLogger(__name__)

_Table: TypeAlias = Mapping[Shop, Credentials]
_WEBHOOK_SECRETS: Final = "webhook_secrets"
_FileVersion: TypeAlias = tuple[int, int, int]
"""Modification time in ns, size, inode."""


class CredentialsFileInvalid(ValueError):
    """The file cannot be used; the message says where, and quotes no value."""


class FileCredentials:
    """Looks shops up in the file, and reloads it whenever it has changed.

    The first load must succeed, else CredentialsFileInvalid is raised. Afterwards a file that is broken or missing
    is logged, and the last valid content stays in use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: _FileVersion | None = None
        self._table: _Table = {}
        self._reload()

    @property
    def shop_count(self) -> int:
        """The number of shops in the content that is in use."""
        return len(self._table)

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """Return what the file says now, even if the shop has just rejected it. Raises CredentialsNotFound."""
        self._reload_or_keep()
        found = self._table.get(shop)
        if found is None:
            raise CredentialsNotFound(shop)
        return found

    def _reload_or_keep(self) -> None:
        try:
            self._reload()
        except CredentialsFileInvalid as error:
            _log.error("credentials file not usable, the last valid content stays in use: %s", error)

    def _reload(self) -> None:
        """Load the file if it has changed; a broken version is loaded (and logged) once."""
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            self._version = version
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsFileInvalid(f"{self._path}: {_read_error(error)}") from None
        self._table = _parse(self._path, text)
        if status.st_mode & stat.S_IROTH:
            _log.warning("credentials file %s can be read by every user of this machine; chmod 600", self._path)


def _read_error(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "is not UTF-8"


def _parse(path: Path, text: str) -> _Table:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CredentialsFileInvalid(f"{path}: {error}") from None
    return {
        Shop(platform, domain.lower().removesuffix(".")): _credentials(f"{path}: [{platform}.{domain!r}]", keys)
        for platform, shops in document.items()
        for domain, keys in _as_table(f"{path}: [{platform}]", shops).items()
    }


def _credentials(where: str, keys: object) -> Credentials:
    found: dict[str, Secret] = {}
    for name, value in _as_table(where, keys).items():
        if name == _WEBHOOK_SECRETS:
            found |= _webhook_secrets(f"{where}: {name}", value)
        elif isinstance(value, str) and value.strip():
            # Keys are pasted; WooCommerce tolerates a space after a key, but not after a secret.
            found[name] = Secret(value.strip())
        else:
            raise CredentialsFileInvalid(f"{where}: {name} must be a non-empty string")
    for name, secret in found.items():
        if not is_sendable(secret.reveal()):
            raise CredentialsFileInvalid(f"{where}: {name} must hold no line break and no control character")
    if "refresh_token" in found:
        # It expires after some weeks, and its successor would have to be stored.
        raise CredentialsFileInvalid(
            f"{where}: refresh_token is not possible in a file, which cannot store its successor; use client_id "
            "and client_secret alone for an app of the same organisation, else the Token Service"
        )
    if not found:
        raise CredentialsFileInvalid(f"{where}: holds no credentials")
    return found


def _webhook_secrets(where: str, value: object) -> Credentials:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise CredentialsFileInvalid(f'{where} must be a list of strings such as ["..."]')
    try:
        return named_webhook_secrets(value)
    except ValueError as error:
        raise CredentialsFileInvalid(f"{where} {error}") from None


def _as_table(where: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise CredentialsFileInvalid(f'{where}: must be a table such as [platform."shop\'s domain"]')
    return value
