"""What may go wrong between us and a host, before anyone knows what the host is to us.

HttpFailure
├── NoAnswer            no connection, a time-out, a broken or failing answer, after all retries
│   ├── ServerError         500: the host is there
│   ├── BadGateway          408, 425, 502 to 504, 520 to 527, 530
│   ├── CertificateRefused
│   └── CircuitOpen           nobody answered for long: not asked at all
├── TooManyRequests     429 or 430 after all retries, or a longer pause asked than we wait
├── RedirectAnswer      3xx, never followed
├── UnusableAnswer      too large, too deep or undecodable
└── AddressForbidden    the host leads into a network that we do not call
"""

from __future__ import annotations

from datetime import timedelta


class HttpFailure(Exception):
    """`detail` is for people; it holds no query string, header or body."""

    def __init__(self, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        """What the host asked for, if it did."""


class NoAnswer(HttpFailure):
    """The host did not answer, or only with server errors."""


class ServerError(NoAnswer):
    """The host is there, and broke over this request."""


class BadGateway(NoAnswer):
    """Whoever stands before the host says that it does not answer, or is overloaded."""


class CertificateRefused(NoAnswer):
    """The host's TLS certificate is not trusted; trying again would not help."""


class CircuitOpen(NoAnswer):
    """The host was not asked, since it did not answer for some time; `retry_after` says when it is."""


class TooManyRequests(HttpFailure):
    """The host asks for a pause that is longer than our patience."""


class RedirectAnswer(HttpFailure):
    """The host sends us elsewhere; `detail` says where, without the query."""


class UnusableAnswer(HttpFailure):
    """The answer cannot be read: too large, nested too deep or wrongly compressed."""


class AddressForbidden(HttpFailure):
    """The host's addresses are none that we call."""
