"""TLS files that are read again when they change; the last good content is kept while they are not usable."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from catalogsync_common.certificates import (
    KeyPair,
    TlsFileInvalid,
    is_readable_by_others,
    read_ca_bundle,
    read_key_pair,
)
from catalogsync_common.settings import SettingsError

LOGGER: Final = logging.getLogger(__name__)

_RETRY_INTERVAL_SECONDS: Final = 1.0
"""Between two attempts to read unusable files that have not changed: their certificate may become valid."""

_Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFilePaths:
    """The files of one side of TLS connections, and the environment variables that name them."""

    certificate: Path | None = None
    """The certificate chain in PEM format; None: no certificate is presented, and `key` is None as well."""
    key: Path | None = None
    ca: Path | None = None
    """Certificates of the CAs that the other side's certificate is verified with."""
    variables: Mapping[Path, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Path, ...]:
        """The files that are set."""
        return tuple(file for file in (self.certificate, self.key, self.ca) if file is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsMaterial:
    """The content of the files at one time."""

    pair: KeyPair | None = None
    ca: bytes | None = field(default=None, repr=False)


class TlsFiles:
    """The files of one side of TLS connections, with their last usable content. All methods are thread-safe.

    Args:
        name: for log lines and metrics: "server" or "connector client".
        paths: the files.
        utc_now: the clock that certificates are compared with.
        monotonic: the clock of repeated attempts, in seconds.

    Raises:
        SettingsError: the files are not usable now.
    """

    def __init__(
        self,
        name: str,
        paths: TlsFilePaths,
        *,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._paths = paths
        self._utc_now = utc_now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._signature = _signature(paths)
        self._failed_at: float | None = None
        """When the files were found unusable; None: `_material` is their content."""
        self._logged: tuple[_Signature, str] | None = None
        """The files and the error of the last error line."""
        try:
            self._material = self._read()
        except TlsFileInvalid as first:
            errors = self._errors() or [first]
            raise SettingsError(
                tuple(f"{paths.variables.get(error.file, 'TLS')}: {error}" for error in errors)
            ) from None
        self._warn_about_key()

    @property
    def expires_at(self) -> datetime | None:
        """When the certificate in use expires; None: there is none."""
        pair = self._material.pair
        return pair.expires_at if pair else None

    def current(self) -> TlsMaterial:
        """Return the last usable content, the same object until it changes; it never raises.

        Files whose inode, size or modification time has changed are read again. Unusable files are logged once
        per change.
        """
        with self._lock:
            try:
                self._refresh()
            except Exception:
                # gRPC calls this from a thread of its own, where an exception would be lost.
                LOGGER.exception("the TLS files of the %s could not be read", self.name)
            return self._material

    def _refresh(self) -> None:
        signature = _signature(self._paths)
        if signature == self._signature and not self._is_retry_due():
            return
        self._signature = signature
        try:
            read: TlsMaterial | TlsFileInvalid = self._read()
        except TlsFileInvalid as error:
            read = error
        if _signature(self._paths) != signature:
            # The files changed while they were read: the next call reads them again.
            return
        if isinstance(read, TlsFileInvalid):
            self._failed_at = self._monotonic()
            self._log_unusable(signature, read)
        else:
            self._failed_at = None
            self._logged = None
            self._use(read)

    def _use(self, material: TlsMaterial) -> None:
        if material == self._material:
            return
        self._material = material
        extra = {"expires_at": self._expiry_text()}
        LOGGER.info("the TLS files of the %s were read again", self.name, extra=extra)
        self._warn_about_key()

    def _is_retry_due(self) -> bool:
        return self._failed_at is not None and self._monotonic() - self._failed_at >= _RETRY_INTERVAL_SECONDS

    def _read(self) -> TlsMaterial:
        return TlsMaterial(pair=self._read_pair(), ca=self._read_ca())

    def _read_pair(self) -> KeyPair | None:
        if self._paths.certificate is None or self._paths.key is None:
            return None
        return read_key_pair(self._paths.certificate, self._paths.key, now=self._utc_now())

    def _read_ca(self) -> bytes | None:
        return read_ca_bundle(self._paths.ca) if self._paths.ca is not None else None

    def _errors(self) -> list[TlsFileInvalid]:
        errors = []
        for read in (self._read_pair, self._read_ca):
            try:
                read()
            except TlsFileInvalid as error:
                errors.append(error)
        return errors

    def _log_unusable(self, signature: _Signature, error: TlsFileInvalid) -> None:
        if self._logged == (signature, str(error)):
            return
        self._logged = (signature, str(error))
        LOGGER.error(
            "the changed TLS files of the %s are not usable, the previous ones stay in use: %s",
            self.name,
            error,
            extra={"variable": self._paths.variables.get(error.file, ""), "expires_at": self._expiry_text()},
        )

    def _expiry_text(self) -> str:
        expires_at = self.expires_at
        return expires_at.isoformat() if expires_at else ""

    def _warn_about_key(self) -> None:
        key = self._paths.key
        if key is None:
            return
        try:
            if is_readable_by_others(key):
                LOGGER.warning(
                    "%s: every user of this machine can read or replace %s",
                    self._paths.variables.get(key, ""),
                    key,
                )
        except OSError as error:
            LOGGER.warning("cannot read the mode of %s: %s", key, error.strerror)


def _signature(paths: TlsFilePaths) -> _Signature:
    """Return what changes when a file is written or replaced, also through a symbolic link as in Kubernetes."""
    return tuple(_file_signature(file) for file in paths.all)


def _file_signature(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
