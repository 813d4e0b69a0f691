"""`catalogsync token`: mint a token of an operator or of a client."""

from __future__ import annotations

import getpass
import os
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from catalogsync_common.duration import parse_duration
from catalogsync_common.token_claims import CLIENT_TOKEN_LIFETIME, OPERATOR_TOKEN_LIFETIME, SCOPES
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token

_KEY_VARIABLE: Final = "CATALOGSYNC_SIGNING_KEY"
_CLIENT_SCOPES: Final = ("catalog:read", "catalog:sync")


@click.command(short_help="Mint a token of an operator or of a client, for development.")
@click.option("--operator", metavar="NAME", help="Of this operator. [default: the name of the user]")
@click.option("--shop", "domain", metavar="DOMAIN", help="Of a client of the shops with this domain.")
@click.option("--merchant", metavar="ID", help="Of a client of all shops of this merchant.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="[default: all that are possible]"
)
@click.option("--lifetime", metavar="TIME", help='Such as "15m". [default: the longest that is accepted]')
@click.option("--issuer", default="catalogsync", help="CATALOG_CLIENT_ISSUER. [default: catalogsync]")
@click.option("--audience", default="catalogsync", help="CATALOG_CLIENT_AUDIENCE. [default: catalogsync]")
@click.option(
    "--signing-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='File with the key that signs, "kid:key".',
)
def token(
    operator: str | None,
    domain: str | None,
    merchant: str | None,
    scopes: tuple[str, ...],
    lifetime: str | None,
    issuer: str,
    audience: str,
    signing_key_file: Path | None,
) -> None:
    """Mint a token and print it.

    The key is one of CATALOG_OPERATOR_KEYS, or for --shop and --merchant one of CATALOG_CLIENT_KEYS. It comes from
    --signing-key-file, or else from the environment variable CATALOGSYNC_SIGNING_KEY.

    \b
    Example:
      export CATALOGSYNC_TOKEN=$(catalogsync token --signing-key-file operator.key)
      catalogsync shops list
    """
    if sum(bool(one) for one in (operator, domain, merchant)) > 1:
        raise click.UsageError("give one of --operator, --shop and --merchant")
    key = _signing_key(signing_key_file)
    if domain or merchant:
        minted = mint_client_token(
            key,
            issuer=issuer,
            audience=audience,
            domain=domain or "",
            merchant_id=merchant or "",
            scopes=scopes or _CLIENT_SCOPES,
            lifetime=_lifetime(lifetime, CLIENT_TOKEN_LIFETIME),
        )
    else:
        minted = mint_operator_token(
            key,
            operator or getpass.getuser(),
            scopes=scopes or SCOPES,
            lifetime=_lifetime(lifetime, OPERATOR_TOKEN_LIFETIME),
        )
    click.echo(minted)


def _signing_key(file: Path | None) -> SigningKey:
    text = file.read_text(encoding="utf-8") if file else os.environ.get(_KEY_VARIABLE, "")
    try:
        return SigningKey.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{file or _KEY_VARIABLE}: {error}") from None


def _lifetime(text: str | None, longest: timedelta) -> timedelta:
    if text is None:
        return longest
    try:
        lifetime = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--lifetime") from None
    if not timedelta() < lifetime <= longest:
        raise click.BadParameter(f"must be longer than zero and at most {longest}", param_hint="--lifetime")
    return lifetime
