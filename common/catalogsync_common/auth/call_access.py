"""Decides for each call who calls, and whether the call is allowed: what the interceptor asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from catalogsync_common.auth.access_rules import AccessRules
from catalogsync_common.auth.failures import Unauthenticated
from catalogsync_common.auth.secret_keys import ServiceSecrets
from catalogsync_common.auth.tokens import TokenVerifier
from catalogsync_common.principal import Principal, PrincipalKind
from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SERVICE_SECRET_HEADER

Metadata = Iterable[tuple[str, str | bytes]]

_BEARER: Final = "bearer "
_HINT: Final = 'Send the metadata "authorization: Bearer TOKEN" or "x-service-secret: NAME:SECRET".'


class ShopAccess(Protocol):
    """Decides whether a client may act on the shop that its request names."""

    async def check(self, principal: Principal, request: Any, shop_field: str) -> None:
        """Raise the failure of a shop that does not exist, unless the shop is the client's own.

        Args:
            principal: A client.
            request: The request.
            shop_field: The field that names the shop, a ShopRef or a sync id; empty: the request names none.
        """
        ...


class NoShops:
    """A `ShopAccess` of a server whose methods no client may call."""

    async def check(self, principal: Principal, request: Any, shop_field: str) -> None:
        raise Unauthenticated("Clients may not call this service.")


class CallAccess:
    """Authenticates the callers of a server, and authorizes their calls by the rules of the contract."""

    def __init__(
        self,
        rules: AccessRules,
        *,
        secrets: ServiceSecrets,
        tokens: TokenVerifier | None = None,
        shops: ShopAccess | None = None,
    ) -> None:
        """Create the access control.

        Args:
            rules: The rules of the server's methods.
            secrets: The secrets of services.
            tokens: Verifies tokens; None: no client and no operator may call.
            shops: Whose shop is whose; None: no client may call.
        """
        self._rules = rules
        self._secrets = secrets
        self._tokens = tokens
        self._shops = shops or NoShops()

    def is_public(self, method: str) -> bool:
        """Return whether the method needs no credentials."""
        return self._rules.is_public(method)

    def admit(self, method: str, metadata: Metadata | None) -> Principal:
        """Return the principal of a call of a method that is not public, before its request is read.

        Raises:
            Unauthenticated: The credentials are missing or invalid.
            TokenExpired: The token has expired.
            PermissionDenied: The principal may not call this method.
        """
        principal = self._authenticate(metadata or ())
        self._rules.find(method).check(principal)
        return principal

    async def authorize(self, principal: Principal, method: str, request: Any) -> None:
        """Check that a client names its own shop. Raises what a shop that does not exist raises."""
        if principal.kind is PrincipalKind.CLIENT:
            await self._shops.check(principal, request, self._rules.find(method).shop_field)

    def _authenticate(self, metadata: Metadata) -> Principal:
        """Return the principal. A service that passes on the token of a client acts as that client."""
        received = _credentials(metadata)
        secret, authorization = received.get(SERVICE_SECRET_HEADER), received.get(AUTHORIZATION_HEADER)
        service = None if secret is None else self._service(secret)
        if authorization is not None:
            return self._principal_of_token(authorization)
        if service is None:
            raise Unauthenticated(f"This call needs credentials. {_HINT}")
        return service

    def _service(self, text: str) -> Principal:
        name, _, secret = text.partition(":")
        if not self._secrets.matches(name, secret):
            raise Unauthenticated("The service secret is not valid.")
        return Principal(kind=PrincipalKind.SERVICE, name=name)

    def _principal_of_token(self, authorization: str) -> Principal:
        if self._tokens is None:
            raise Unauthenticated(
                'This server accepts no tokens. Send the metadata "x-service-secret: NAME:SECRET".'
            )
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated('The metadata "authorization" must be "Bearer TOKEN".')
        return self._tokens.verify(authorization[len(_BEARER) :].strip())


def _credentials(metadata: Metadata) -> Mapping[str, str]:
    """Return the credentials by metadata key. Raises Unauthenticated if one occurs twice or is not text."""
    found: dict[str, str] = {}
    for key, value in metadata:
        if key in (AUTHORIZATION_HEADER, SERVICE_SECRET_HEADER):
            if key in found or not isinstance(value, str):
                raise Unauthenticated(f'The metadata "{key}" must be given once, as text.')
            found[key] = value
    return found


def seconds_until_expiry(principal: Principal) -> float | None:
    """Return the seconds until the principal's token expires, at least 0; None: it does not expire."""
    if principal.expires_at is None:
        return None
    return max(0.0, (principal.expires_at - datetime.now(UTC)).total_seconds())
