"""Serves results of bulk operations: no token, a signature in the query, and ranges."""

from __future__ import annotations

import re

from aiohttp import web

from devstore.shopify.bulk_jobs import BulkJobs

_CHUNK = 64 * 1024


async def serve_result(request: web.Request, name: str, jobs: BulkJobs) -> web.StreamResponse:
    """The file `name`, from the byte that is asked for."""
    jobs.downloads += 1
    jobs.tokens_seen += "X-Shopify-Access-Token" in request.headers
    job = jobs.by_token(name.removesuffix(".jsonl"))
    if job is None:
        return web.Response(
            status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml"
        )
    if request.query.get("Signature") != job.token[::-1]:
        return web.Response(
            status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"
        )
    body = job.body[:-20] if jobs.switches.short_files else job.body
    begin = 0 if jobs.switches.whole_files else _asked(request)
    if begin and begin >= len(body):
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    headers = {"ETag": f'"{job.token}"', "Accept-Ranges": "bytes", "Content-Length": str(len(body) - begin)}
    if begin:
        headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
    reply = web.StreamResponse(status=206 if begin else 200, headers=headers)
    reply.content_type = "application/jsonl"
    await reply.prepare(request)
    await _send(request, reply, body[begin:], jobs)
    return reply


async def _send(request: web.Request, reply: web.StreamResponse, body: bytes, jobs: BulkJobs) -> None:
    is_cut = jobs.switches.cut_files > 0
    if is_cut:
        jobs.switches.cut_files -= 1
        body = body[: len(body) // 2]
    for start in range(0, len(body), _CHUNK):
        await reply.write(body[start : start + _CHUNK])
    if is_cut and request.transport:
        request.transport.close()
        return
    await reply.write_eof()


def _asked(request: web.Request) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    return int(match[1]) if match else 0
