"""Checks a gRPC service as one of its clients is configured to reach it: connection, certificate, answer, clock.

A failed gRPC call says UNAVAILABLE and quotes a TLS library. These checks connect step by step, so that the
finding names the step that fails and the setting to change.

This module needs gRPC and the standard library only, since the command line uses it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import grpc

from catalogsync_common.call_context import SERVER_TIME_HEADER
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.diagnosis import CERTIFICATE_WARNING_PERIOD, Finding, Findings
from catalogsync_common.duration import format_duration
from catalogsync_common.status import ReceivedFailure, read_failure_now

TRequest = TypeVar("TRequest")
TResponse = TypeVar("TResponse")
Clock: TypeAlias = Callable[[], datetime]

_CONNECT_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 10.0

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_NAME_MISMATCH: Final = frozenset({62, 64})
"""Codes of X509_V_ERR_* in OpenSSL's x509_vfy.h."""


def utc_now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A service, and the settings with which its client reaches it."""

    service: str
    """"connector_svc"."""
    address: str
    """As a gRPC target."""
    address_setting: str
    """What to change if the address is wrong: "CATALOG_CONNECTOR_ADDRESS"."""
    ca_setting: str
    """What to change if the certificate is not trusted."""
    name_setting: str
    """What to change if the certificate has another name than the host; "": the address."""
    tls: ClientTls | None = field(default=None, repr=False)

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """The hosts and ports of the address; none if its form is not known here."""
        scheme, has_scheme, rest = self.address.partition(":")
        if has_scheme and scheme.lower() in ("dns", "ipv4", "ipv6"):
            listed = rest.rpartition("/")[2] if scheme.lower() == "dns" else rest
        else:
            listed = self.address
        found = []
        for one in listed.split(","):
            host, _, port = one.rpartition(":")
            if not (host and port.isdecimal()):
                return ()
            found.append((host.strip("[]"), int(port)))
        return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The end of one call."""

    failure: ReceivedFailure | None
    """None: it succeeded."""
    ahead: timedelta | None
    """How far the clock of this machine is ahead of the server's; None: the server did not say its time."""
    uncertainty: timedelta
    """How long the call took."""


async def check_connection(findings: Findings, endpoint: Endpoint, *, clock: Clock = utc_now) -> list[Finding]:
    """Connect to each address of the endpoint, with TLS if it has TLS, and look at the certificates."""
    if not endpoint.hosts:
        return [findings.skipped(_connection(endpoint), f"the form of {endpoint.address!r} is not known here")]
    found = [await _check_host(findings, endpoint, host, port, clock) for host, port in endpoint.hosts]
    return [finding for one in found for finding in one]


async def call_once(
    method: grpc.aio.UnaryUnaryMultiCallable[TRequest, TResponse],
    request: TRequest,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
    timeout_seconds: float = _CALL_SECONDS,
    clock: Clock = utc_now,
) -> Answer:
    """Make one call and return how it ended, and what it says about the clock of the server."""
    began = clock()
    call = method(request, metadata=metadata, timeout=timeout_seconds)
    failure: ReceivedFailure | None = None
    try:
        await call
        trailers = await call.trailing_metadata()
    except grpc.aio.AioRpcError as error:
        failure, trailers = read_failure_now(error), error.trailing_metadata()
    took = clock() - began
    server_time = _server_time(trailers)
    ahead = began + took / 2 - server_time if server_time else None
    return Answer(failure=failure, ahead=ahead, uncertainty=took)


def _server_time(trailers: Any) -> datetime | None:
    text = (trailers.get(SERVER_TIME_HEADER) if trailers is not None else None) or ""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _connection(endpoint: Endpoint) -> str:
    return f"connection to {endpoint.service}"


async def _check_host(findings: Findings, endpoint: Endpoint, host: str, port: int, clock: Clock) -> list[Finding]:
    check, where = _connection(endpoint), f"{endpoint.service} at {host}:{port}"
    try:
        certificate = await _connect(endpoint, host, port)
    except ssl.SSLCertVerificationError as error:
        return [
            findings.ok(check, f"{where} answers"),
            findings.failed(_certificate(endpoint), _certificate_problem(error, endpoint, where)),
        ]
    except (ssl.SSLError, ConnectionResetError, asyncio.IncompleteReadError):
        problem = f"{where} does not speak TLS: turn TLS on there, or do not set {endpoint.ca_setting}"
        return [findings.failed(check, problem)]
    except OSError as error:
        return [findings.failed(check, _connection_problem(error, endpoint, host, port))]
    found = [findings.ok(check, f"{where} answers" if endpoint.tls else f"{where} answers, without TLS")]
    if certificate is not None:
        found.append(_check_expiry(findings, endpoint, certificate, where, clock))
    return found


async def _connect(endpoint: Endpoint, host: str, port: int) -> dict[str, Any] | None:
    """Return the verified certificate of the server; None without TLS."""
    context = _context(endpoint.tls) if endpoint.tls else None
    name = (endpoint.tls.server_name or host) if endpoint.tls else None
    async with asyncio.timeout(_CONNECT_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    found = writer.get_extra_info("peercert")
    # Without a TLS shutdown: a server that requires client certificates answers it with an error.
    writer.transport.abort()
    return found or None


def _context(tls: ClientTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=tls.ca.decode("ascii", "replace") if tls.ca else None)
    # As gRPC: private CAs without every extension of RFC 5280 are accepted.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2"])
    return context


def _connection_problem(error: OSError, endpoint: Endpoint, host: str, port: int) -> str:
    setting = endpoint.address_setting
    if isinstance(error, socket.gaierror):
        return f"the host name {host!r} is not known: correct {setting}, or the DNS of this machine"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {host}:{port}: start {endpoint.service}, or correct {setting}"
    if isinstance(error, TimeoutError):
        cause = f"does not answer within {_CONNECT_SECONDS:.0f} s"
    else:
        cause = f"cannot be reached ({error.strerror or type(error).__name__})"
    return f"{host}:{port} {cause}: correct {setting}, or open this port in the firewalls on the way"


def _certificate(endpoint: Endpoint) -> str:
    return f"certificate of {endpoint.service}"


def _certificate_problem(error: ssl.SSLCertVerificationError, endpoint: Endpoint, where: str) -> str:
    if error.verify_code == _EXPIRED:
        return f"the certificate of {where} has expired: renew it, and check the clock of this machine"
    if error.verify_code == _NOT_YET_VALID:
        return f"the certificate of {where} is not valid yet: check the clock of this machine, and that of its CA"
    if error.verify_code in _NAME_MISMATCH:
        return f"the certificate of {where} has another name: set {endpoint.name_setting} to a name that it has"
    return (
        f"the certificate of {where} is not signed by a CA that is trusted here: put the certificate of its CA "
        f"into the file of {endpoint.ca_setting}"
    )


def _check_expiry(
    findings: Findings, endpoint: Endpoint, certificate: dict[str, Any], where: str, clock: Clock
) -> Finding:
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    return check_expiry(findings, _certificate(endpoint), f"the certificate of {where}", ends, clock=clock)


def check_expiry(findings: Findings, check: str, what: str, ends: datetime, *, clock: Clock = utc_now) -> Finding:
    """Return whether a certificate expires soon."""
    left = ends - clock()
    text = f"{what} is valid until {ends:%Y-%m-%d %H:%M:%SZ}"
    if left > CERTIFICATE_WARNING_PERIOD:
        return findings.ok(check, text)
    if left <= timedelta():
        return findings.failed(check, f"{what} has expired on {ends:%Y-%m-%d %H:%M:%SZ}: renew it")
    days = format_duration(timedelta(days=left.days)) if left.days else format_duration(left)
    return findings.warning(check, f"{what} expires in {days}, on {ends:%Y-%m-%d %H:%M:%SZ}: renew it now")
