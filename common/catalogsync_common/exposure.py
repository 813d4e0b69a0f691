"""Refuses to listen where other machines could call without authentication or encryption."""

from __future__ import annotations

import logging
from typing import Final

from catalogsync_common.settings import ListenAddress, SettingsError

LOGGER: Final = logging.getLogger(__name__)


def check_exposure(
    address: ListenAddress, *, encrypted: bool, authenticated: bool, allow_insecure: bool, prefix: str
) -> None:
    """Check that a server may listen on `address`.

    Args:
        address: where it is to listen.
        encrypted: whether connections use TLS.
        authenticated: whether callers must authenticate.
        allow_insecure: whether the operator accepts that others can call; a warning is then logged.
        prefix: the prefix of the service's environment variables, for the error message.

    Raises:
        SettingsError: other machines can reach the address, and calls are not both authenticated and encrypted.
    """
    if address.is_loopback or (encrypted and authenticated):
        return
    present = {"authentication": authenticated, "encryption": encrypted}
    missing = " and ".join(name for name, is_present in present.items() if not is_present)
    if not allow_insecure:
        raise SettingsError(
            (
                f"{prefix}LISTEN_ADDRESS: {address} can be reached from other machines, without {missing}; "
                f"listen on 127.0.0.1, configure {prefix}TLS_CERT_FILE and authentication, or set "
                f"{prefix}ALLOW_INSECURE=1 where a trusted network protects the service",
            )
        )
    LOGGER.warning("listening on %s without %s, where other machines can reach it", address, missing)
