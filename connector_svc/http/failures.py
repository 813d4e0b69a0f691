"""HTTP failures, independent of what the host is to us; `client.to_source_failure` maps them for a shop.

HttpFailure
├── NoResponse          no connection, a timeout, a broken or failing reply, after all retries
│   ├── ServerError         500: the host is there
│   ├── BadGateway          408, 425, 502 to 504, 520 to 527, 530
│   ├── CertificateRejected
│   └── CircuitOpen         the host did not answer for some time: no request was sent
├── TooManyRequests     429 or 430 after all retries, or a longer pause requested than we wait
├── RedirectRefused     3xx, never followed
├── UnusableResponse    too large, nested too deep or undecodable
└── AddressForbidden    the host leads into a network that we do not call
"""

from __future__ import annotations

from datetime import timedelta


class HttpFailure(Exception):
    """A request failed. `detail` is for people; it holds no query string, header or body."""

    def __init__(self, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        """The pause that the host asked for; None: it did not ask for one."""


class NoResponse(HttpFailure):
    """The host did not answer, or only with server errors."""


class ServerError(NoResponse):
    """The host is there and failed to process this request."""


class BadGateway(NoResponse):
    """A proxy says that the host does not answer or is overloaded."""


class CertificateRejected(NoResponse):
    """The host's TLS certificate is not trusted; a retry would not help."""


class CircuitOpen(NoResponse):
    """No request was sent, because the host did not answer for some time; `retry_after` is when one will be."""


class TooManyRequests(HttpFailure):
    """The host's rate limit is exceeded, and the retries are exhausted or its pause is longer than we wait."""


class RedirectRefused(HttpFailure):
    """The host answers with a redirect; `detail` says where to, without the query."""


class UnusableResponse(HttpFailure):
    """The reply cannot be read: it is too large, nested too deep or wrongly compressed."""


class AddressForbidden(HttpFailure):
    """None of the host's addresses may be called."""
