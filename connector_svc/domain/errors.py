"""Why a shop cannot be read. Every class carries a reason of `catalogsync.errors.v1.ErrorReason`.

SourceFailure
├── SourceUnreachable         passes: no connection, time-out, 5xx after all retries
├── SourceRateLimited         passes: asks for a longer pause than we wait
├── TokenServiceUnavailable   passes
├── CredentialsNotFound       the shop must be connected
├── SourceUnauthorized        the shop must be connected again
├── SourceForbidden           a permission is missing
├── SourceNotFound            no such shop, or no API there
├── SourceRedirected          the shop lives elsewhere
├── SourceResponseInvalid     a web page, broken JSON
├── SourceQueryRefused        our query or its filter was not accepted
├── SourceAddressForbidden    the domain leads into a network that we do not call
├── SourceCountMismatch       less came than the platform counts
├── SourceCurrencyChanged     transient: the shop's currency changed while it was read
├── CheckpointInvalid         not one of ours
└── CheckpointExpired         made for another query or version
"""

from __future__ import annotations

from datetime import timedelta

from catalogsync_common.failure import Failure

from connector_svc.domain.shop import Shop


class SourceFailure(Failure):
    """A shop cannot be read. `detail` is for people and must hold no secret and no platform body."""

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
    """No connection, a time-out or server errors, after all retries."""

    reason = "SOURCE_UNREACHABLE"
    summary = "The shop does not answer. We try again; if it stays so, check that the shop is online."


class SourceRateLimited(SourceFailure):
    """The platform asks for a longer pause than one call waits."""

    reason = "SOURCE_RATE_LIMITED"
    summary = "The shop's platform asks us to wait."


class TokenServiceUnavailable(SourceFailure):
    """The Token Service does not answer."""

    reason = "TOKEN_SERVICE_UNAVAILABLE"
    summary = "The service that keeps the shop's credentials does not answer. We try again."


class CredentialsNotFound(SourceFailure):
    """No credentials for this shop anywhere we look."""

    reason = "CREDENTIALS_NOT_FOUND"
    summary = "We hold no credentials for this shop. Connect the shop first."


class SourceUnauthorized(SourceFailure):
    """The platform refuses the credentials."""

    reason = "SOURCE_UNAUTHORIZED"
    summary = "The shop refuses our credentials. Connect the shop again."


class SourceForbidden(SourceFailure):
    """Valid credentials without a permission that we need."""

    reason = "SOURCE_FORBIDDEN"
    summary = "Our credentials lack a permission. Grant it and connect the shop again."


class SourceNotFound(SourceFailure):
    """The platform knows no such shop, or its API is not there."""

    reason = "SOURCE_NOT_FOUND"
    summary = "There is no such shop, or its API is switched off. Check the domain."


class SourceRedirected(SourceFailure):
    """The shop answers with a redirect, which we never follow: it would carry the token elsewhere."""

    reason = "SOURCE_REDIRECTED"
    summary = "The shop redirects to another address. Connect it under that address."


class SourceResponseInvalid(SourceFailure):
    """A web page or broken JSON where the API should answer."""

    reason = "SOURCE_RESPONSE_INVALID"
    summary = (
        "The shop answers with something that is not its API, such as a web page of a firewall or a maintenance "
        "plugin. Ask the shop's host to let API calls through."
    )


class SourceQueryRefused(SourceFailure):
    """The platform refused our query, ignored a filter or served another version: a fault of ours to fix."""

    reason = "SOURCE_QUERY_REFUSED"
    summary = "The shop's platform did not accept our query. This is for us to repair; tell support."


class SourceAddressForbidden(SourceFailure):
    """The domain resolves to an address that we never call."""

    reason = "SOURCE_ADDRESS_FORBIDDEN"
    summary = "The shop's domain leads to an address that we do not call. Check the domain."


class SourceCountMismatch(SourceFailure):
    """Less came than the platform counts, also after looking again."""

    reason = "SOURCE_COUNT_MISMATCH"
    summary = "The shop delivered fewer products than it counts. What came is stored; start another sync."

    def __init__(self, shop: Shop, *, expected: int, received: int) -> None:
        super().__init__(
            shop, f"expected {expected}, received {received}", expected=str(expected), received=str(received)
        )


class SourceCurrencyChanged(SourceFailure):
    """The shop's currency changed while its products were read: some prices belong to the old one."""

    reason = "SOURCE_CURRENCY_CHANGED"
    summary = "The shop's currency changed while its products were read. They are read anew."

    def __init__(self, shop: Shop, *, expected: str, received: str) -> None:
        super().__init__(shop, f"{expected} became {received}", expected=expected, received=received)


class CheckpointInvalid(SourceFailure):
    """The checkpoint is not one of ours, or of another shop."""

    reason = "CHECKPOINT_INVALID"
    summary = "The checkpoint is not one of ours for this shop."


class CheckpointExpired(SourceFailure):
    """The checkpoint was made for another query or by another version of the connector."""

    reason = "CHECKPOINT_EXPIRED"
    summary = "The checkpoint was made for another query. Start from the beginning."
