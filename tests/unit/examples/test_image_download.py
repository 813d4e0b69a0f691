"""examples/analysis-worker downloads images from the hosts of shops, within limits, and from nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from catalogsync_client import TaskFailed
from image_download import MAX_BYTES, ImageDownloads, ImageHosts, open_downloads

from tests.fakes.image_host import ImageHost


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    host = ImageHost()
    await host.start()
    yield host
    await host.stop()


@pytest.fixture
async def downloads(host: ImageHost) -> AsyncIterator[ImageDownloads]:
    """Downloads from the host, which the operator has allowed."""
    async with open_downloads(ImageHosts(exempt=(host.name,))) as downloads:
        yield downloads


async def failure(downloads: ImageDownloads, url: str) -> tuple[str, bool]:
    """Return reason and permanence, and check that the message does not contain the address."""
    with pytest.raises(TaskFailed) as caught:
        await downloads.download(url)
    assert "127.0.0.1" not in caught.value.message
    assert "secret" not in caught.value.message
    return caught.value.reason, caught.value.permanent


def answers(host: ImageHost, status: int) -> str:
    async def answer() -> web.Response:
        return web.Response(status=status)

    host.answers[f"/{status}"] = answer
    return host.url(f"/{status}")


async def test_an_image_is_downloaded_also_over_redirects(host: ImageHost, downloads: ImageDownloads) -> None:
    host.serves("/image.png", b"image")
    host.redirects("/second", "/image.png")
    assert await downloads.download(host.redirects("/first", host.url("/second"))) == b"image"


@pytest.mark.parametrize(
    ("status", "reason", "permanent"),
    [
        (404, "IMAGE_NOT_FOUND", True),
        (410, "IMAGE_NOT_FOUND", True),
        (403, "DOWNLOAD_FAILED", False),
        (429, "DOWNLOAD_FAILED", False),
        (503, "DOWNLOAD_FAILED", False),
    ],
)
async def test_only_an_image_that_does_not_exist_is_a_permanent_failure(
    host: ImageHost, downloads: ImageDownloads, status: int, reason: str, permanent: bool
) -> None:
    assert await failure(downloads, answers(host, status)) == (reason, permanent)


async def test_an_announced_size_above_the_limit_is_refused(host: ImageHost, downloads: ImageDownloads) -> None:
    assert await failure(downloads, host.serves("/large", bytes(MAX_BYTES + 1))) == ("IMAGE_TOO_LARGE", True)
    assert len(await downloads.download(host.serves("/largest", bytes(MAX_BYTES)))) == MAX_BYTES


async def test_a_body_without_an_announced_size_is_cut_off_at_the_limit(
    host: ImageHost, downloads: ImageDownloads
) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield bytes(1024 * 1024)

    async def answer() -> web.Response:
        return web.Response(body=chunks(), content_type="image/png")

    host.answers["/endless"] = answer
    assert await failure(downloads, host.url("/endless")) == ("IMAGE_TOO_LARGE", True)
    assert sent < 100


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/json"])
async def test_a_page_in_place_of_an_image_is_unreadable(
    host: ImageHost, downloads: ImageDownloads, content_type: str
) -> None:
    url = host.serves("/page", b"<html></html>", content_type=content_type)
    assert await failure(downloads, url) == ("IMAGE_UNREADABLE", True)


async def test_a_compressed_body_that_was_not_requested_is_not_read(
    host: ImageHost, downloads: ImageDownloads
) -> None:
    url = host.serves("/packed", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert await failure(downloads, url) == ("IMAGE_UNREADABLE", True)


async def test_a_silent_host_fails_after_the_time_limit_and_may_be_tried_again(host: ImageHost) -> None:
    url = host.keeps_silent("/silent")
    async with open_downloads(ImageHosts(exempt=(host.name,)), timeout_seconds=0.2) as downloads:
        assert await failure(downloads, url) == ("DOWNLOAD_FAILED", False)


async def test_a_host_that_breaks_off_may_be_tried_again(host: ImageHost, downloads: ImageDownloads) -> None:
    async def answer() -> web.StreamResponse:
        request = host.requests[-1]
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "image/png"})
        await response.prepare(request)
        await response.write(b"begin")
        assert request.transport is not None
        request.transport.close()
        return response

    host.answers["/broken"] = answer
    assert await failure(downloads, host.url("/broken")) == ("DOWNLOAD_FAILED", False)


async def test_an_internal_address_is_not_called(host: ImageHost) -> None:
    url = host.serves("/image.png", b"image")
    async with open_downloads(ImageHosts()) as downloads:
        for forbidden in (url, "http://127.0.0.1/image.png", "http://localhost/image.png", "http://10.0.0.1/"):
            assert await failure(downloads, forbidden) == ("ADDRESS_FORBIDDEN", True)
    assert host.requests == []


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://2130706433/",
        "http://localhost:1/",
        "file:///etc/passwd",
        "",
    ],
)
async def test_a_redirect_to_an_internal_address_is_not_followed(
    host: ImageHost, downloads: ImageDownloads, location: str
) -> None:
    assert await failure(downloads, host.redirects("/redirect", location)) == ("ADDRESS_FORBIDDEN", True)


async def test_a_redirect_to_another_internal_host_is_not_followed(
    host: ImageHost, downloads: ImageDownloads
) -> None:
    other = ImageHost()
    await other.start()
    try:
        url = host.redirects("/redirect", other.serves("/image.png", b"image"))
        assert await failure(downloads, url) == ("ADDRESS_FORBIDDEN", True)
        assert other.requests == []
    finally:
        await other.stop()


async def test_redirects_in_a_circle_end(host: ImageHost, downloads: ImageDownloads) -> None:
    assert await failure(downloads, host.redirects("/circle", "/circle")) == ("DOWNLOAD_FAILED", False)
    assert len(host.requests) < 10


@pytest.mark.parametrize(
    "url", ["", "image.png", "ftp://shop.example/a.png", "http://user:secret@shop.example/a.png", "http://["]
)
async def test_what_is_no_address_of_an_image_is_refused(downloads: ImageDownloads, url: str) -> None:
    assert await failure(downloads, url) == ("ADDRESS_FORBIDDEN", True)
