"""The files of the page, the probes and the OpenAPI document."""

from __future__ import annotations

import re
from pathlib import Path

from catalogsync_bff.routes.pages import PAGE, PageFile, read_page

from tests.bff_client import API, BffClient
from tests.fakes.catalog_service import CatalogServer
from tests.unit.bff.conftest import served


async def test_the_page_may_only_load_what_this_origin_serves(bff: BffClient) -> None:
    answer = await bff.call("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


async def test_every_file_of_the_page_is_served_with_its_type(bff: BffClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
    for name in read_page():
        answer = await bff.call("GET", f"/page/{name}")
        assert (answer.status, answer.body) == (200, (PAGE / name).read_bytes())
        assert answer.headers["Content-Type"].startswith(types[Path(name).suffix]), name


async def test_a_known_file_is_not_sent_again(bff: BffClient) -> None:
    first = await bff.call("GET", "/")
    again = await bff.call("GET", "/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"


async def test_nothing_outside_of_the_page_is_served(bff: BffClient) -> None:
    for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js"):
        assert (await bff.call("GET", f"/page/{path}")).status == 404


def test_files_are_known_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "a.js").write_text("1")
    (tmp_path / ".hidden").write_text("2")
    assert read_page(tmp_path) == {"views/a.js": PageFile.read(tmp_path / "views" / "a.js")}


async def test_probes_need_no_session(server: CatalogServer) -> None:
    async with served(server) as stranger:
        health = await stranger.call("GET", "/healthz", headers={"Host": "10.0.0.7:8080"})
        ready = await stranger.call("GET", "/readyz", headers={"Host": "10.0.0.7:8080"})
    assert (health.status, ready.status) == (200, 200)


async def test_the_document_describes_every_route_of_the_api(server: CatalogServer) -> None:
    async with served(server) as stranger:
        document = (await stranger.call("GET", f"{API}/openapi.json")).envelope
    assert document["openapi"] == "3.1.0"
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert ("post", f"{API}/sync") in described
    assert ("get", f"{API}/events") in described
    assert len(described) == 20
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references <= set(document["components"]["schemas"])
    identifiers = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(identifiers) == len(set(identifiers))
