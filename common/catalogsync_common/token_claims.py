"""The claims of tokens that both sides must agree on: who mints tokens, and who verifies them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

AUTHORIZATION_HEADER: Final = "authorization"
"""Metadata key of a token: "Bearer <token>"."""
SERVICE_SECRET_HEADER: Final = "x-service-secret"
"""Metadata key of a service secret: "name:secret"."""

OPERATOR_AUDIENCE: Final = "catalogsync-operator"
OPERATOR_ISSUER: Final = "catalogsync"
OPERATOR_TOKEN_LIFETIME: Final = timedelta(hours=12)
"""The longest lifetime of an operator token."""
MAX_CLOCK_SKEW: Final = timedelta(seconds=30)
"""How far in the future a token may have been issued."""
CLIENT_TOKEN_LIFETIME: Final = timedelta(minutes=15)
"""The longest lifetime of a client token, unless the service is configured otherwise."""

MERCHANT_PREFIX: Final = "merchant:"
"""Begins the subject of a client token for all shops of one merchant: "merchant:m-17"."""

SCOPES: Final = ("catalog:read", "catalog:sync", "catalog:manage")
"""All scopes."""
