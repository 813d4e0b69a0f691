"""`make bench-access`: how much longer does an authenticated call take than a bare one?

Two replicas of catalog_svc on one database, one without and one with authentication. One client calls GetShop, one
call at a time, and changes the kind of credentials with every call, so that whatever slows the machine down slows
all kinds down alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import jwt
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SERVICE_SECRET_HEADER
from catalogsync_common.token_minting import SigningKey, mint_client_token
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.common.cluster import migrate_database, running_services
from bench.common.machine import create_directory
from bench.common.measure import percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from catalog_svc.storage.embedded import embedded_postgres

MAX_ADDED_MS: Final = 0.3
DOMAIN: Final = "one.myshopify.com"
MERCHANT: Final = "m-1"
WARM_UP_CALLS: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One way to call."""

    name: str
    stub: CatalogServiceStub
    shop: pb.ShopRef
    metadata: tuple[tuple[str, str], ...] = ()

    async def seconds(self) -> float:
        """Call once and return how long it took."""
        begin = time.perf_counter()
        await self.stub.GetShop(pb.GetShopRequest(shop=self.shop), metadata=self.metadata)
        return time.perf_counter() - begin


class Keys:
    """The keys and secrets of the replica with authentication."""

    def __init__(self, directory: Path) -> None:
        self.client = SigningKey(kid="hs256", key=secrets.token_hex(32))
        self.secret = f"bench:{secrets.token_hex(32)}"
        self._private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self._jwks = directory / "jwks.json"
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        self._jwks.write_text(json.dumps({"keys": [{**public, "kid": "rs256"}]}), encoding="utf-8")

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of catalog_svc."""
        return {
            "CATALOG_CLIENT_KEYS": f"{self.client.kid}:{self.client.key}",
            "CATALOG_CLIENT_JWKS_FILE": str(self._jwks),
            "CATALOG_CLIENT_ISSUER": "bench",
            "CATALOG_SERVICE_SECRETS": self.secret,
        }

    def token(self, *, domain: str = "", merchant_id: str = "") -> str:
        """Return a token of a client, signed with HS256."""
        return mint_client_token(
            self.client, issuer="bench", scopes=["catalog:read"], domain=domain, merchant_id=merchant_id
        )

    def token_by_public_key(self, token: str) -> str:
        """Return a token with the same claims, signed with RS256."""
        claims = jwt.decode(token, options={"verify_signature": False})
        return jwt.encode(claims, self._private, algorithm="RS256", headers={"kid": "rs256"})


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return ((AUTHORIZATION_HEADER, f"Bearer {token}"),)


async def _callers(bare: CatalogServiceStub, secured: CatalogServiceStub, keys: Keys) -> list[Caller]:
    registered = await bare.RegisterShop(
        pb.RegisterShopRequest(platform="shopify", domain=DOMAIN, merchant_id=MERCHANT)
    )
    by_id = pb.ShopRef(shop_id=registered.shop.shop.shop_id)
    by_name = pb.ShopRef(platform="shopify", domain=DOMAIN)
    of_domain = keys.token(domain=DOMAIN)
    ways: dict[str, tuple[pb.ShopRef, tuple[tuple[str, str], ...]]] = {
        "service secret": (by_id, ((SERVICE_SECRET_HEADER, keys.secret),)),
        "client of a domain, HS256": (by_id, _bearer(of_domain)),
        "client of a domain, RS256": (by_id, _bearer(keys.token_by_public_key(of_domain))),
        "client of a merchant, HS256": (by_id, _bearer(keys.token(merchant_id=MERCHANT))),
    }
    named = Caller(
        name="client of a domain, shop by name", stub=secured, shop=by_name, metadata=_bearer(of_domain)
    )
    return [
        Caller(name="bare", stub=bare, shop=by_id),
        Caller(name="bare, shop by name", stub=bare, shop=by_name),
        *(Caller(name=name, stub=secured, shop=shop, metadata=sent) for name, (shop, sent) in ways.items()),
        named,
    ]


async def measure(calls: int) -> dict[str, dict[str, float]]:
    """Return the latencies by kind of caller.

    Args:
        calls: Calls of each kind.
    """
    async with AsyncExitStack() as stack:
        root = stack.enter_context(temporary_directory("access"))
        url = await stack.enter_async_context(embedded_postgres(root / "postgres"))
        await migrate_database(url)
        keys = Keys(root)
        stubs = []
        for name, settings in (("bare", {}), ("secured", keys.settings)):
            directory = root / name
            create_directory(directory)
            (directory / "postgres").symlink_to(root / "postgres")
            cluster = await stack.enter_async_context(
                running_services(directory, (), ca_file="", database_url=url, settings=settings)
            )
            channel = await stack.enter_async_context(open_channel(cluster.replicas[0].address))
            stubs.append(CatalogServiceStub(channel))
        callers = await _callers(stubs[0], stubs[1], keys)
        await _call(callers, WARM_UP_CALLS)
        return {name: _figures(seconds) for name, seconds in (await _call(callers, calls)).items()}


async def _call(callers: Sequence[Caller], calls: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {caller.name: [] for caller in callers}
    for _ in range(calls):
        for caller in callers:
            seconds[caller.name].append(await caller.seconds())
    return seconds


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    figures = {"p50_ms": percentile(seconds, 50), "mean_ms": fmean(seconds), "p99_ms": percentile(seconds, 99)}
    return {name: round(value * 1000, 3) for name, value in figures.items()}


def _targets(figures: Mapping[str, Mapping[str, float]]) -> list[Target]:
    targets = []
    for name, found in figures.items():
        if not name.startswith("bare"):
            base = "bare, shop by name" if name.endswith("by name") else "bare"
            added = round(found["p50_ms"] - figures[base]["p50_ms"], 3)
            targets.append(
                Target(name=f"added by: {name}", value=added, unit="ms", wanted=MAX_ADDED_MS, at="most")
            )
    return targets


def main() -> None:
    """Print a table, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.access", description=__doc__)
    parser.add_argument("--calls", type=int, default=3_000, help="of each kind [default: 3000]")
    args = parser.parse_args()
    figures = asyncio.run(measure(args.calls))
    rows = [(name, *(f"{value:.3f}" for value in found.values())) for name, found in figures.items()]
    print_table("GetShop, milliseconds", ("", "p50", "mean", "p99"), rows)
    targets = _targets(figures)
    print_targets(targets)
    print_result("access", {"calls": figures, "targets": [target.to_json() for target in targets], "ratios": {}})


if __name__ == "__main__":
    main()
