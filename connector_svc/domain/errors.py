"""Why a shop cannot be read. Every class carries a reason of `catalogsync.errors.v1.ErrorReason`.

SourceFailure
├── SourceUnreachable         transient: no connection, a timeout, or 5xx after all retries
├── SourceRateLimited         transient: the platform asks for a longer pause than we wait
├── TokenServiceUnavailable   transient
├── CredentialsNotFound       the shop must be connected
├── SourceUnauthorized        the shop must be connected again
├── SourceForbidden           a permission is missing
├── SourceNotFound            no such shop, or no API there
├── SourceRedirected          the shop is at another address
├── SourceResponseInvalid     a web page, or broken JSON
├── SourceQueryRefused        our query or its filter was not accepted
├── SourceAddressForbidden    the domain leads into a network that we do not call
├── SourceCountMismatch       less was delivered than the platform counts
├── SourceCurrencyChanged     transient: the shop's currency changed while it was read
├── CheckpointInvalid         not one of ours
└── CheckpointExpired         made for another query or version
"""

from __future__ import annotations

from datetime import timedelta

from catalogsync_common.failure import Failure

from connector_svc.domain.shop import Shop


class SourceFailure(Failure):
    """A shop cannot be read. `detail` is for people and must hold neither secrets nor a platform's reply body."""

    summary = "The shop cannot be read."

    def __init__(
        self,
        shop: Shop,
        detail: str = "",
        *,
        retry_after: timedelta | None = None,
        **metadata: str,
    ) -> None:
        text = f"{shop}: {self.summary}" + (f" ({detail})" if detail else "")
        super().__init__(
            text,
            metadata={"platform": shop.platform, "domain": shop.domain, **metadata},
            retry_after=retry_after,
        )
        self.shop = shop


class SourceUnreachable(SourceFailure):
    """There was no connection, a timeout or a server error, after all retries."""

    reason = "SOURCE_UNREACHABLE"
    summary = "The shop does not answer. We will try again; if this persists, check that the shop is online."


class SourceRateLimited(SourceFailure):
    """The platform asks for a longer pause than one call waits."""

    reason = "SOURCE_RATE_LIMITED"
    summary = "The shop's platform asks us to wait."


class TokenServiceUnavailable(SourceFailure):
    """The Token Service does not answer."""

    reason = "TOKEN_SERVICE_UNAVAILABLE"
    summary = "The service that stores the shop's credentials does not answer. We will try again."


class CredentialsNotFound(SourceFailure):
    """No credentials provider knows this shop."""

    reason = "CREDENTIALS_NOT_FOUND"
    summary = "We have no credentials for this shop. Connect the shop first."


class SourceUnauthorized(SourceFailure):
    """The platform rejects the credentials."""

    reason = "SOURCE_UNAUTHORIZED"
    summary = "The shop rejects our credentials. Connect the shop again."


class SourceForbidden(SourceFailure):
    """The credentials are valid but lack a permission that we need."""

    reason = "SOURCE_FORBIDDEN"
    summary = "Our credentials lack a permission. Grant it and connect the shop again."


class SourceNotFound(SourceFailure):
    """The platform has no such shop, or the shop's API is not there."""

    reason = "SOURCE_NOT_FOUND"
    summary = "There is no such shop, or its API is switched off. Check the domain."


class SourceRedirected(SourceFailure):
    """The shop answers with a redirect, which we never follow: that would send the token to another host."""

    reason = "SOURCE_REDIRECTED"
    summary = "The shop redirects to another address. Connect it under that address."


class SourceResponseInvalid(SourceFailure):
    """The reply is a web page or broken JSON instead of an API reply."""

    reason = "SOURCE_RESPONSE_INVALID"
    summary = (
        "The shop answers with something that is not its API, such as a web page of a firewall or a maintenance "
        "plugin. Ask the shop's host to let API calls through."
    )


class SourceQueryRefused(SourceFailure):
    """The platform rejected our query, ignored a filter or served another version: a defect of ours to fix."""

    reason = "SOURCE_QUERY_REFUSED"
    summary = "The shop's platform did not accept our query. This is an error on our side; contact support."


class SourceAddressForbidden(SourceFailure):
    """The domain resolves to an address that we never call."""

    reason = "SOURCE_ADDRESS_FORBIDDEN"
    summary = "The shop's domain leads to an address that we do not call. Check the domain."


class SourceCountMismatch(SourceFailure):
    """Less was delivered than the platform counts, even after a second look."""

    reason = "SOURCE_COUNT_MISMATCH"
    summary = "The shop delivered fewer products than it counts. What was delivered is stored; start another sync."

    def __init__(self, shop: Shop, *, expected: int, received: int) -> None:
        super().__init__(
            shop, f"expected {expected}, received {received}", expected=str(expected), received=str(received)
        )


class SourceCurrencyChanged(SourceFailure):
    """The shop's currency changed while its products were read: some prices are in the old one."""

    reason = "SOURCE_CURRENCY_CHANGED"
    summary = "The shop's currency changed while its products were read. They will be read again."

    def __init__(self, shop: Shop, *, expected: str, received: str) -> None:
        super().__init__(shop, f"{expected} became {received}", expected=expected, received=received)


class CheckpointInvalid(SourceFailure):
    """The checkpoint was not made by this connector, or was made for another shop."""

    reason = "CHECKPOINT_INVALID"
    summary = "The checkpoint is not one of ours for this shop."


class CheckpointExpired(SourceFailure):
    """The checkpoint was made for another query or by another version of the connector."""

    reason = "CHECKPOINT_EXPIRED"
    summary = "The checkpoint was made for another query. Start from the beginning."
