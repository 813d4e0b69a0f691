"""A connector whose one platform, or whose start, fails with an exception that holds secrets.

`python -m tests.security.crashing_service start` fails at once; `serve` prints its port and fails in each call.
"""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import quote, urlencode

from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.drain import Drain
from catalogsync_common.logs import configure_logging, redact
from catalogsync_common.process import run
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import load_settings
from yarl import URL

from connector_svc.credentials.token_service import TokenServiceConfig
from connector_svc.domain.fetch import FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.http.transport import HttpRequest
from connector_svc.platforms.base import Secret
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from connector_svc.settings import ConnectorSettings
from tests.fakes.listed_platform import ListedPlatform
from tests.security.secrets import (
    BIGCOMMERCE_TOKEN,
    DATABASE_PASSWORD,
    FEED_SECRET,
    FEED_TOKEN,
    SHOPIFY_CLIENT_SECRET,
    SHOPIFY_REFRESH_TOKEN,
    SHOPIFY_TOKEN,
    TOKEN_SERVICE_SECRET,
    WOO_KEY,
    WOO_SECRET,
)


def messages(settings: object) -> Mapping[str, str]:
    """Return texts as exceptions have them, by name."""
    basic = b64encode(f"{WOO_KEY.value}:{WOO_SECRET.value}".encode()).decode()
    form = {"client_secret": SHOPIFY_CLIENT_SECRET.value, "refresh_token": SHOPIFY_REFRESH_TOKEN.value}
    query = {"consumer_key": WOO_KEY.value, "consumer_secret": WOO_SECRET.value}
    headers = {"X-Auth-Token": BIGCOMMERCE_TOKEN.value, "Authorization": f"Bearer {FEED_TOKEN.value}"}
    secret = Secret(TOKEN_SERVICE_SECRET.value)
    url = URL("https://shop.example/")
    return {
        "headers": f"cannot send {headers!r} and {'X-Shopify-Access-Token'}: {SHOPIFY_TOKEN.value}",
        "basic": f"cannot send Authorization: Basic {basic}",
        "form": f"cannot send {urlencode(form)!r}",
        "query": f"cannot GET https://shop.example/wp-json/?{urlencode(query)}",
        "json": f'cannot parse b\'{{"access_token":"{SHOPIFY_TOKEN.core}","feed_secret": "{FEED_SECRET.core}"}}\'',
        "dsn": f"cannot connect to postgresql://catalog:{quote(DATABASE_PASSWORD.value, safe='')}@db/catalog",
        "settings": f"cannot use {settings!r}, {settings}",
        "credentials": f"cannot use {TokenServiceConfig(base_url=url, secret=secret)!r}, {[secret]}",
        "request": f"cannot send {HttpRequest(method='GET', url=url.with_query(query), headers=headers)!r}",
    }


class CrashingPlatform(ListedPlatform):
    """Raises the message that the first label of the domain names."""

    def __init__(self, settings: object) -> None:
        super().__init__()
        self._messages: Final = messages(settings)

    async def check(self, shop: Shop) -> ShopInfo:
        """See `Platform.check`."""
        raise RuntimeError(self._messages[shop.domain.partition(".")[0]])

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        await self.check(request.shop)
        async for event in super().fetch(request, on_wait=on_wait):
            yield event


async def serve(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    settings = load_settings(ConnectorSettings)
    configure_logging("DEBUG", "crashing", log_format="json")
    drain = Drain()
    servicer = ConnectorServicer(Platforms([CrashingPlatform(settings)]), drain=drain, redact=redact)
    service = Service(
        name="catalogsync.connector.v1.ConnectorService",
        register=lambda server: add_ConnectorServiceServicer_to_server(servicer, server),
    )
    server = build_server((service,), listen_address=settings.listen_address, drain=drain)
    print(await server.start(), flush=True)
    await stop.wait()
    await server.stop(settings.stop_grace)


async def start(stop: asyncio.Event) -> None:
    """Fail before logging is configured."""
    raise RuntimeError(" ".join(messages(load_settings(ConnectorSettings)).values()))


if __name__ == "__main__":
    sys.exit(run(start if sys.argv[1] == "start" else serve))
