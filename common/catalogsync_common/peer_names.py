"""The allow-list of the names in the certificates of clients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import grpc

from catalogsync_common.failure import Failure

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

LOGGER: Final = logging.getLogger(__name__)

_LOG_INTERVAL_SECONDS: Final = 60.0
_MAX_NAME_BYTES: Final = 300
_DNS_KEY: Final = "peer_dns"
_URI_KEY: Final = "peer_uri"


class PeerNotAllowed(Failure):
    """The client's certificate has none of the names that this server accepts."""

    reason = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__("The client certificate has none of the names that this server accepts.")


class PeerNames:
    """Accepts clients by a subject alternative name of their certificate, which TLS has verified.

    DNS names are compared with the DNS names of the certificate, URIs with its URIs. gRPC's property
    `x509_subject_alternative_name` would not do: it also contains e-mail addresses and IP addresses.

    Args:
        allowed: DNS names and URIs, such as "catalog.internal" and "spiffe://acme/catalog"; a text with a colon is
            a URI. DNS names are compared without regard to case.
        monotonic: the clock of the log lines, in seconds.
    """

    def __init__(self, allowed: Iterable[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._logged_at: float | None = None
        names = frozenset(allowed)
        self._uris = frozenset(name.encode() for name in names if ":" in name)
        self._dns_names = frozenset(name.lower().encode() for name in names if ":" not in name)

    def check_peer(self, context: Context) -> None:
        """Check the client of a call.

        Raises:
            PeerNotAllowed: its certificate has no allowed name, or there is no certificate.
        """
        properties: Mapping[str, Iterable[bytes]] = context.auth_context()
        dns_names = {name.lower() for name in properties.get(_DNS_KEY, ())}
        if self._dns_names.isdisjoint(dns_names) and self._uris.isdisjoint(properties.get(_URI_KEY, ())):
            self._log_refusal(context.peer(), properties.get("x509_subject_alternative_name", ()))
            raise PeerNotAllowed

    def _log_refusal(self, peer: str, names: Iterable[bytes]) -> None:
        """Log a refused client, at most once a minute: a client may try again many times in a second."""
        now = self._monotonic()
        if self._logged_at is not None and now - self._logged_at < _LOG_INTERVAL_SECONDS:
            return
        self._logged_at = now
        found = b", ".join(names)[:_MAX_NAME_BYTES].decode("utf-8", "replace")
        LOGGER.warning(
            "a client was refused: its certificate has none of the allowed names",
            extra={"peer": peer, "certificate_names": found},
        )
