"""Pictures of the products of `demo_shops`, drawn here, and a server from which a BFF fetches them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from PIL import Image, ImageDraw, ImageFilter

_SIDE: Final = 480
_SCALE: Final = 2
"""Pictures are drawn larger and reduced, so that edges are smooth."""
Draw = Callable[[ImageDraw.ImageDraw], None]


def _shirt(draw: ImageDraw.ImageDraw) -> None:
    body = [(300, 250), (390, 210), (570, 210), (660, 250), (800, 400), (710, 480), (650, 420), (650, 760),
            (310, 760), (310, 420), (250, 480), (160, 400)]  # fmt: skip
    draw.polygon(body, fill="#d9c3a0")
    draw.polygon([(390, 210), (570, 210), (480, 320)], fill="#efe4d1")
    draw.line([(480, 320), (480, 760)], fill="#bda57e", width=5)
    for y in (400, 500, 600, 700):
        draw.ellipse([472, y, 488, y + 16], fill="#8f7a56")


def _sweater(draw: ImageDraw.ImageDraw) -> None:
    body = [(320, 240), (640, 240), (800, 640), (710, 680), (640, 480), (640, 770), (320, 770), (320, 480),
            (250, 680), (160, 640)]  # fmt: skip
    draw.polygon(body, fill="#2c3e60")
    draw.arc([400, 180, 560, 320], 0, 180, fill="#1d2b46", width=26)
    draw.rectangle([320, 735, 640, 770], fill="#22314e")


def _tote(draw: ImageDraw.ImageDraw) -> None:
    draw.arc([350, 160, 610, 600], 180, 360, fill="#a68a5b", width=26)
    draw.polygon([(250, 380), (710, 380), (740, 790), (220, 790)], fill="#e6d6b8")
    draw.rectangle([400, 520, 560, 640], outline="#7a9a7e", width=12)


def _mug(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([570, 380, 760, 620], outline="#e7ebe8", width=40)
    draw.rounded_rectangle([250, 300, 640, 740], radius=50, fill="#f4f6f4")
    draw.ellipse([250, 260, 640, 350], fill="#dfe5e1")
    draw.ellipse([280, 275, 610, 335], fill="#4f3626")
    draw.line([(250, 310), (250, 690)], fill="#3d6a8a", width=10)


def _blanket(draw: ImageDraw.ImageDraw) -> None:
    for row, colour in enumerate(("#b4533c", "#c96a4f", "#b4533c", "#e0b59c")):
        top = 320 + row * 110
        draw.rounded_rectangle([190, top, 770, top + 130], radius=56, fill=colour)
    for x in range(220, 760, 40):
        draw.line([(x, 770), (x, 820)], fill="#8d3d2b", width=8)


def _board(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle([230, 220, 730, 780], radius=70, fill="#b98a55")


def _candle(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle([340, 420, 620, 780], radius=26, fill="#e8c25e")
    draw.ellipse([340, 390, 620, 460], fill="#f3d986")
    draw.line([(480, 330), (480, 425)], fill="#54452a", width=10)
    draw.ellipse([455, 220, 505, 350], fill="#f28a3c")


def _belt(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([200, 240, 760, 800], outline="#6d4125", width=80)
    draw.rounded_rectangle([390, 200, 570, 360], radius=20, outline="#c9b06a", width=26)


_PICTURES: Final[tuple[tuple[str, Draw], ...]] = (
    ("#f3ede3", _shirt),
    ("#e3e8ef", _sweater),
    ("#eaf0e8", _tote),
    ("#cfd9d5", _mug),
    ("#f2e7df", _blanket),
    ("#eee6da", _board),
    ("#f6f0da", _candle),
    ("#ece5e0", _belt),
)


def draw_picture(number: int) -> bytes:
    """Return a PNG of a product on its background, with a soft shadow."""
    background, draw = _PICTURES[number % len(_PICTURES)]
    side = _SIDE * _SCALE
    image = Image.new("RGB", (side, side), background)
    shadow = Image.new("RGBA", (side, side))
    ImageDraw.Draw(shadow).ellipse([200, 770, 780, 860], fill=(60, 50, 40, 70))
    image.paste(shadow.filter(ImageFilter.GaussianBlur(22)), mask=shadow.filter(ImageFilter.GaussianBlur(22)))
    draw(ImageDraw.Draw(image))
    file = io.BytesIO()
    image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


@asynccontextmanager
async def picture_server() -> AsyncIterator[str]:
    """Yield "host:port" of a server of /0.png, /1.png, and so on."""

    async def picture(request: web.Request) -> web.Response:
        return web.Response(body=draw_picture(int(request.match_info["number"])), content_type="image/png")

    app = web.Application()
    app.router.add_get(r"/{number:\d}.png", picture)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()
