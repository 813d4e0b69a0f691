"""Images: resized within limits, cached, and never fetched from inside the operator's network."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, Product, ProductImage, Shop, ShopRef
from catalogsync_bff.images.addresses import ImageAddresses
from catalogsync_bff.images.cache import ImageCache, ImageKey, ResizedImage
from catalogsync_bff.images.fetching import (
    MAX_BYTES,
    ImageFetcher,
    ImageHosts,
    ImageUnavailable,
    open_fetcher,
)
from catalogsync_bff.images.proxy import ImageProxy, TooManyImages
from catalogsync_bff.images.resizing import ImageUnusable, OutputFormat, resize
from PIL import Image

from tests.bff_client import API, BffClient
from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.fakes.image_host import ImageHost, picture
from tests.unit.bff.conftest import served
from tests.waiting import until, within_timeout

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    host = ImageHost()
    await host.start()
    yield host
    await host.stop()


@pytest.fixture
async def fetcher(host: ImageHost) -> AsyncIterator[ImageFetcher]:
    """Fetches from the host, which the operator has configured."""
    async with open_fetcher(ImageHosts(exempt=(host.name,))) as fetcher:
        yield fetcher


class Meter:
    """Counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def image_served(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@asynccontextmanager
async def opened(proxy: ImageProxy) -> AsyncIterator[ImageProxy]:
    """Close the proxy after the block."""
    try:
        yield proxy
    finally:
        await proxy.close()


def key(url: str, size: int = 96) -> ImageKey:
    return ImageKey(url=url, size=size, output=OutputFormat.WEBP)


def opened_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def huge_png() -> bytes:
    """Return a PNG of 100,000 x 100,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


class TestResizing:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
    @pytest.mark.parametrize("output", list(OutputFormat))
    def test_an_image_fits_into_the_square_and_keeps_its_shape(self, kind: str, output: OutputFormat) -> None:
        resized = opened_image(resize(picture(400, 200, kind=kind), size=96, output=output))
        assert (resized.size, f"image/{(resized.format or '').lower()}") == ((96, 48), output.value)

    def test_a_small_image_is_not_enlarged(self) -> None:
        assert opened_image(resize(picture(10, 20), size=96, output=OutputFormat.WEBP)).size == (10, 20)

    @pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
    @pytest.mark.parametrize("output", list(OutputFormat))
    def test_every_colour_mode_is_shown(self, mode: str, output: OutputFormat) -> None:
        assert opened_image(resize(picture(9, 9, mode=mode), size=96, output=output)).size == (9, 9)

    def test_metadata_such_as_the_place_of_a_photo_is_not_copied(self) -> None:
        photo, out = Image.new("RGB", (20, 10)), io.BytesIO()
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "at home"
        photo.save(out, "JPEG", exif=exif)
        resized = resize(out.getvalue(), size=96, output=OutputFormat.JPEG)
        assert opened_image(resized).size == (10, 20), "turned as the metadata says"
        assert b"at home" not in resized

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(SVG, id="svg"),
            pytest.param(b"", id="empty"),
            pytest.param(b"<html></html>", id="html"),
            pytest.param(picture(50, 50)[:60], id="broken off"),
            pytest.param(picture(50, 50, kind="BMP"), id="another format"),
            pytest.param(picture(50, 50, kind="TIFF"), id="a format with many decoders"),
            pytest.param(huge_png(), id="too many pixels"),
            pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", id="a program"),
        ],
    )
    def test_other_content_is_refused(self, content: bytes) -> None:
        with pytest.raises(ImageUnusable):
            resize(content, size=96, output=OutputFormat.WEBP)


class TestFetching:
    async def test_an_image_is_fetched_without_headers_of_the_browser(
        self, fetcher: ImageFetcher, host: ImageHost
    ) -> None:
        assert await fetcher.fetch(host.serves("/a.png", b"content")) == b"content"
        assert not {"Cookie", "Authorization", "Referer"} & set(host.requests[0].headers)

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/a.png",
            "http://[::1]/a.png",
            "http://[::ffff:127.0.0.1]/a.png",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/a.png",
            "http://localhost/a.png",
            "http://2130706433/a.png",
            "http://127.1/a.png",
            "http://0/a.png",
            "http://127.0.0.1:50051/a.png",
            "https://example.com:22/a.png",
            "file:///etc/passwd",
            "ftp://example.com/a.png",
            "data:image/png;base64,AAAA",
            "//example.com/a.png",
            "http://user:password@example.com/a.png",
            "http:///a.png",
            "http://[::1/a.png",
            "",
        ],
    )
    async def test_internal_and_unusual_addresses_are_refused(self, fetcher: ImageFetcher, url: str) -> None:
        with pytest.raises(ImageUnusable):
            await within_timeout(fetcher.fetch(url))

    async def test_a_redirect_leads_nowhere_else(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        target = host.serves("/target.png", b"content")
        assert await fetcher.fetch(host.redirects("/moved.png", "/target.png")) == b"content"
        assert await fetcher.fetch(host.redirects("/again.png", target)) == b"content"
        inside = host.redirects("/inside.png", "http://127.0.0.1:1/secret")
        metadata = host.redirects("/metadata.png", "http://169.254.169.254/latest/meta-data")
        loop = host.redirects("/loop.png", "/loop.png")
        nowhere = host.redirects("/nowhere.png", "")
        file = host.redirects("/file.png", "file:///etc/passwd")
        for url in (inside, metadata, loop, nowhere, file):
            with pytest.raises(ImageUnusable):
                await fetcher.fetch(url)

    async def test_large_content_is_not_read(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        with pytest.raises(ImageUnusable, match="larger than 5 MiB"):
            await fetcher.fetch(host.serves("/large.png", bytes(MAX_BYTES + 1)))

    async def test_svg_and_pages_are_refused_by_their_type(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        for number, content_type in enumerate(("image/svg+xml", "text/html")):
            with pytest.raises(ImageUnusable):
                await fetcher.fetch(host.serves(f"/{number}", SVG, content_type=content_type))

    async def test_compressed_content_is_refused(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        """A few bytes of it could be gigabytes."""
        url = host.serves("/zip.png", zlib.compress(b"x" * 1_000_000), **{"Content-Encoding": "deflate"})
        with pytest.raises(ImageUnusable, match="compressed"):
            await fetcher.fetch(url)

    async def test_a_silent_host_is_given_up(self, host: ImageHost) -> None:
        hosts = ImageHosts(exempt=(host.name,))
        async with open_fetcher(hosts, timeout_seconds=0.2) as impatient:
            with pytest.raises(ImageUnavailable, match="in time"):
                await within_timeout(impatient.fetch(host.keeps_silent("/silent.png")))

    async def test_a_missing_image_and_a_closed_port_are_unavailable(
        self, fetcher: ImageFetcher, host: ImageHost
    ) -> None:
        with pytest.raises(ImageUnavailable, match="404"):
            await fetcher.fetch(host.url("/missing.png"))
        url = host.url("/gone.png")
        await host.stop()
        with pytest.raises(ImageUnavailable) as unavailable:
            await fetcher.fetch(url)
        assert "127.0.0.1" not in str(unavailable.value)


class TestProxy:
    async def test_what_many_browsers_want_is_fetched_once(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        url, meter = host.serves("/a.png", picture(300, 300)), Meter()
        async with opened(ImageProxy(fetcher, ImageCache(10**6), meter)) as proxy:
            images = await asyncio.gather(*(proxy.get(key(url)) for _ in range(20)))
            assert await proxy.get(key(url)) == images[0]
            assert (await proxy.get(key(url, 192))).content != images[0].content
        assert len(set(images)) == 1
        assert len(host.requests) == 2
        assert sorted(meter.outcomes) == ["cached", "fetched", "fetched"]

    async def test_a_browser_that_goes_away_does_not_take_the_image_from_the_others(
        self, fetcher: ImageFetcher, host: ImageHost
    ) -> None:
        url = host.keeps_silent("/slow.png")
        async with opened(ImageProxy(fetcher, ImageCache(10**6), Meter())) as proxy:
            first, second = (asyncio.ensure_future(proxy.get(key(url))) for _ in range(2))
            await until(lambda: host.requests)
            first.cancel()
            await asyncio.wait((first,))
            host.silence.set()
            with pytest.raises(ImageUnavailable):
                await within_timeout(second)
        assert len(host.requests) == 1

    async def test_failures_are_not_cached(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        async with opened(ImageProxy(fetcher, ImageCache(10**6), Meter())) as proxy:
            with pytest.raises(ImageUnavailable):
                await proxy.get(key(host.url("/later.png")))
            url = host.serves("/later.png", picture(10, 10))
            assert (await proxy.get(key(url))).content

    async def test_more_images_than_the_limit_are_refused(self, fetcher: ImageFetcher, host: ImageHost) -> None:
        async with opened(ImageProxy(fetcher, ImageCache(10**6), Meter(), max_pending=1)) as proxy:
            waiting = asyncio.ensure_future(proxy.get(key(host.keeps_silent("/slow.png"))))
            await until(lambda: host.requests)
            with pytest.raises(TooManyImages):
                await proxy.get(key(host.url("/another.png")))
            host.silence.set()
            with pytest.raises(ImageUnavailable):
                await within_timeout(waiting)

    def test_the_cache_drops_what_was_not_used_for_the_longest_time(self) -> None:
        cache = ImageCache(3 * 1_200)
        image = ResizedImage.of(bytes(100), OutputFormat.WEBP)
        for name in ("a", "b", "c"):
            cache.put(key(name), image)
        assert cache.get(key("a"))
        cache.put(key("d"), image)
        assert [name for name in "abcd" if cache.get(key(name))] == ["a", "c", "d"]
        cache.put(key("large"), ResizedImage.of(bytes(5_000), OutputFormat.WEBP))
        assert cache.get(key("large")) is None
        assert cache.size_bytes == 3 * 1_101

    def test_addresses_are_forgotten_after_a_while_and_never_shared(self) -> None:
        now = 0.0
        addresses = ImageAddresses(2, monotonic=lambda: now)
        mine = ("merchant:a", "s", "items", "1")
        addresses.remember([(mine, "https://x")])
        assert addresses.get(mine) == "https://x"
        assert addresses.get(("merchant:b", "s", "items", "1")) is None
        now = 301.0
        assert addresses.get(mine) is None
        addresses.remember([(("merchant:a", "s", "items", str(number)), "u") for number in range(3)])
        assert addresses.get(("merchant:a", "s", "items", "0")) is None


class TestRoutes:
    @pytest.fixture
    async def shown(self, server: CatalogServer, host: ImageHost) -> AsyncIterator[BffClient]:
        async with served(server, dev_login=True, image_hosts=host.name) as client:
            await client.log_in()
            yield client

    @pytest.fixture
    def stored(self, catalog: FakeCatalog, host: ImageHost) -> Shop:
        """A shop with an item, and one without an image."""
        shop = catalog.register(ShopRef(platform="shopify", domain="demo.myshopify.com"))
        url = host.serves("/a.png", picture(500, 500))
        catalog.items["shopify:demo.myshopify.com"] = [
            Item(item_id="1", product_id="p", image_url=url, feed_position=1),
            Item(item_id="2", product_id="p"),
            Item(item_id="3", product_id="p", image_url="http://169.254.169.254/latest"),
        ]
        catalog.products["shopify:demo.myshopify.com"] = [Product(product_id="p", images=[ProductImage(url=url)])]
        return shop

    async def test_the_image_of_an_item_is_resized_for_the_browser(
        self, shown: BffClient, stored: Shop, host: ImageHost
    ) -> None:
        path = f"/shops/{stored.shop_id}/items/1/image"
        first = await shown.get(f"{path}?size=96", headers={"Accept": "image/avif,image/webp,*/*"})
        assert (first.status, first.headers["Content-Type"]) == (200, "image/webp")
        assert first.headers["Cache-Control"] == "private, max-age=3600"
        assert opened_image(first.body).size == (96, 96)
        known = await shown.get(
            f"{path}?size=96", headers={"Accept": "image/webp", "If-None-Match": first.headers["ETag"]}
        )
        assert (known.status, known.body) == (304, b"")
        other = await shown.get(path)
        assert (other.headers["Content-Type"], opened_image(other.body).size) == ("image/jpeg", (192, 192))

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("items/2/image", 404, "IMAGE_NOT_FOUND"),
            ("items/3/image", 404, "IMAGE_UNUSABLE"),
            ("items/9/image", 404, "ITEM_NOT_FOUND"),
            ("products/9/image", 404, "PRODUCT_NOT_FOUND"),
            ("items/1/image?size=97", 400, "INVALID_REQUEST"),
            ("items/1/image?size=", 400, "INVALID_REQUEST"),
        ],
    )
    async def test_what_has_no_image_is_answered_with_the_reason(
        self, shown: BffClient, stored: Shop, path: str, status: int, code: str
    ) -> None:
        answer = await shown.get(f"/shops/{stored.shop_id}/{path}")
        assert (answer.status, answer.code) == (status, code)

    async def test_the_images_of_a_listed_page_cost_no_further_calls(
        self, shown: BffClient, stored: Shop, catalog: FakeCatalog
    ) -> None:
        await shown.get(f"/shops/{stored.shop_id}/items")
        assert (await shown.get(f"/shops/{stored.shop_id}/items/1/image")).status == 200
        assert "GetItem" not in [method for method, _, _ in catalog.requests]

    async def test_a_product_has_its_first_image(self, shown: BffClient, stored: Shop) -> None:
        answer = await shown.call("GET", f"{API}/shops/{stored.shop_id}/products/p/image")
        assert answer.status == 200
