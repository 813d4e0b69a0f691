"""Explains failed connections: gRPC reports them as UNAVAILABLE, with a text of the TLS library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import grpc
from catalogsync_common.status import ReceivedFailure

_PREFIX: Final = "failed to connect to all addresses"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """A cause of failed connections."""

    reason: str
    """Of this client, not of a service."""
    texts: Sequence[str]
    """gRPC's text contains one of them."""
    message: str
    """What is wrong with the callee, whose name comes before it."""
    next_step: str


_PROBLEMS: Final = (
    _Problem(
        reason="CERTIFICATE_EXPIRED",
        texts=("certificate has expired",),
        message="has a certificate that has expired",
        next_step="the operator of the service must renew it; check the clock of this machine as well",
    ),
    _Problem(
        reason="CERTIFICATE_NAME_MISMATCH",
        texts=("Hostname Verification Check failed", "is not in peer certificate"),
        message="has a certificate for another name than the host in this address",
        next_step="use a host name that the certificate has",
    ),
    _Problem(
        reason="CERTIFICATE_UNTRUSTED",
        texts=("CERTIFICATE_VERIFY_FAILED", "certificate signature failure"),
        message="has a certificate of a CA that is not trusted here",
        next_step="trust its CA: ClientTls.read(ca_file=...)",
    ),
    _Problem(
        reason="TLS_NOT_SUPPORTED",
        texts=("WRONG_VERSION_NUMBER",),
        message="does not use TLS",
        next_step="connect without TLS",
    ),
    _Problem(
        reason="CONNECTION_CLOSED",
        texts=("Socket closed", "Connection reset by peer", "Handshake read failed", "CERTIFICATE_REQUIRED"),
        message="closed the connection before a call: it may require TLS, or a client certificate that it trusts",
        next_step="connect with TLS, and with a client certificate if it requires one",
    ),
)

NEXT_STEPS: Final = {problem.reason: problem.next_step for problem in _PROBLEMS}
"""The next step by reason."""


def explain_connection_failure(failure: ReceivedFailure, callee: str) -> ReceivedFailure:
    """Return the failure with a readable message and a reason, if its cause is known; else as it is.

    Args:
        failure: the error of a call.
        callee: name and address of the service.
    """
    if failure.code is not grpc.StatusCode.UNAVAILABLE or not failure.message.startswith(_PREFIX):
        return failure
    for problem in _PROBLEMS:
        if any(text in failure.message for text in problem.texts):
            return replace(failure, reason=problem.reason, message=f"{callee} {problem.message}")
    return failure
