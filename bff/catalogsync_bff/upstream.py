"""Clients of catalog_svc: one for each subject, and that of the BFF itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from catalogsync_client import BearerToken, CatalogClient, Credentials, NoCredentials, ServiceSecret, TokenProvider
from catalogsync_common.token_claims import MERCHANT_PREFIX
from catalogsync_common.token_minting import SigningKey, mint_client_token

from catalogsync_bff.sessions import ALL_SHOPS

_CALL_SCOPES: Final = frozenset({"catalog:read", "catalog:sync"})
"""What clients may do in the catalog. What a session with "catalog:manage" may do, the BFF does for it."""
_MAX_CACHED_CLIENTS: Final = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTokens:
    """Makes the tokens of merchants."""

    key: SigningKey
    issuer: str
    audience: str

    def provider(self, subject: str, scopes: Iterable[str]) -> TokenProvider:
        """Return the credentials of a subject, renewed before they expire."""
        is_merchant = subject.startswith(MERCHANT_PREFIX)
        merchant_id = subject.removeprefix(MERCHANT_PREFIX) if is_merchant else ""
        domain = "" if is_merchant else subject
        granted = sorted(scopes)

        async def fetch() -> str:
            return mint_client_token(
                self.key,
                issuer=self.issuer,
                audience=self.audience,
                merchant_id=merchant_id,
                domain=domain,
                scopes=granted,
            )

        return TokenProvider(fetch)


class Upstream:
    """The channel to catalog_svc, with a client for each kind of credentials."""

    def __init__(self, client: CatalogClient, *, service_secret: str, tokens: ClientTokens | None) -> None:
        """Create the upstream.

        Args:
            client: any client of the channel; its owner closes it.
            service_secret: "name:secret"; "": the catalog runs without authentication.
            tokens: makes the tokens of merchants; None: only sessions that see all shops are possible.
        """
        credentials: Credentials = ServiceSecret(service_secret) if service_secret else NoCredentials()
        self.service = client.authenticated_by(credentials)
        """The client with the rights of the BFF: for what is shared by merchants or closed to them."""
        self._tokens = tokens
        self._clients: OrderedDict[tuple[str, frozenset[str]], CatalogClient] = OrderedDict()

    @property
    def has_tokens(self) -> bool:
        """Whether sessions of single merchants are possible."""
        return self._tokens is not None

    def for_subject(self, subject: str, scopes: frozenset[str]) -> CatalogClient:
        """Return the client with the rights of a session.

        Raises:
            LookupError: the BFF cannot make tokens of merchants.
        """
        if subject == ALL_SHOPS:
            return self.service
        if self._tokens is None:
            raise LookupError("no key for the tokens of merchants is configured")
        key = (subject, scopes & _CALL_SCOPES)
        client = self._clients.get(key)
        if client is None:
            client = self.service.authenticated_by(self._tokens.provider(*key))
            self._clients[key] = client
            if len(self._clients) > _MAX_CACHED_CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(key)
        return client

    def for_token(self, token: str) -> CatalogClient:
        """Return the client with the rights of a token that the caller has sent.

        Raises:
            CredentialsInvalid: the token has characters that cannot be sent.
        """
        return self.service.authenticated_by(BearerToken(token))
