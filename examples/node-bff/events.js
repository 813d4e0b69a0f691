// Shows a sync to browsers as server-sent events: node events.js, then new EventSource("/syncs/{id}/events").
import { createServer } from "node:http";
import { CatalogError, hasEnded, SyncSchema, toJson } from "catalogsync-client";
import { client } from "./connect.js";

const HTTP_STATUS = { INVALID_ARGUMENT: 400, NOT_FOUND: 404, RESOURCE_EXHAUSTED: 429 };
const HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no", // Of nginx, which would keep the events until its buffer is full.
};

async function sendEvents(syncId, request, response) {
  // The id of an event is a revision: a browser that reconnects sends the last one.
  const last = request.headers["last-event-id"] ?? "";
  const afterRevision = /^\d{1,18}$/.test(last) ? BigInt(last) : 0n;
  const closed = new AbortController();
  response.on("close", () => closed.abort());
  const sync = await client.getSync(syncId, { signal: closed.signal });
  // Without 204 a browser connects again after the end, for ever.
  if (hasEnded(sync) && sync.revision === afterRevision) return response.writeHead(204).end();
  response.writeHead(200, HEADERS);
  const heartbeat = setInterval(() => response.write(": heartbeat\n\n"), 15_000);
  try {
    for await (const snapshot of client.watchSync(syncId, { afterRevision, signal: closed.signal })) {
      response.write(`id: ${snapshot.revision}\ndata: ${JSON.stringify(toJson(SyncSchema, snapshot))}\n\n`);
    }
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}

const server = createServer((request, response) => {
  const [, syncId] = /^\/syncs\/([0-9a-f-]{36})\/events$/.exec(request.url ?? "") ?? [];
  if (!syncId) return response.writeHead(404).end();
  sendEvents(syncId, request, response).catch((error) => {
    // A real BFF also checks that this merchant may see this sync.
    const status = error instanceof CatalogError ? (HTTP_STATUS[error.code] ?? 503) : 500;
    if (!response.headersSent) response.writeHead(status).end(error.reason);
  });
});
const port = Number(process.env.PORT ?? 8080);
server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
