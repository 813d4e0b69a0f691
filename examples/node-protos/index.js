// Starts a sync of a shop and prints its progress: node index.js shopify:demo.myshopify.com
"use strict";

const { randomUUID } = require("node:crypto");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const ENDED = ["STATE_SUCCEEDED", "STATE_FAILED", "STATE_CANCELLED"];
const STALL_MS = 60_000; // Two heartbeats: the server promises a message at least every 30 s.
const CHANNEL_OPTIONS = {
  // A connection to a dead or frozen replica is dropped after 40 s, and calls go to another replica.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Over all replicas in CATALOG_ADDRESS: ipv4:10.0.0.1:50051,10.0.0.2:50051.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

const includeDirs = [
  path.join(__dirname, "..", "..", "protos"),
  path.dirname(require.resolve("google-proto-files/package.json")), // google/rpc and google/api
];
const protos = protoLoader.loadSync(
  ["catalogsync/catalog/v1/catalog_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  // Long as String: int64 does not fit into a JavaScript number.
  { includeDirs, keepCase: true, longs: String, enums: String, defaults: true },
);
const { CatalogService } = grpc.loadPackageDefinition(protos).catalogsync.catalog.v1;

/** Returns the details of an error: {ErrorInfo: {reason, metadata}, RetryInfo: ...}. */
function detailsOf(error) {
  const [raw] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!raw) return {};
  const { details } = protos["google.rpc.Status"].deserialize(raw);
  return Object.fromEntries(
    details
      .map(({ type_url: url, value }) => [url.split("/").pop(), value])
      .filter(([type]) => type in protos)
      .map(([type, value]) => [type.split(".").pop(), protos[type].deserialize(value)]),
  );
}

/** Returns the delay before a retry: what the server asks for, else exponential backoff from half a second. */
function backoffMs(error, attempt) {
  const delay = detailsOf(error).RetryInfo?.retry_delay;
  if (delay) return Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  return Math.random() * Math.min(500 * 2 ** attempt, 10_000);
}

/** Returns whether to retry: errors of the service have RetryInfo then; errors without details are network errors. */
function isRetryable(error) {
  const { ErrorInfo, RetryInfo } = detailsOf(error);
  return Boolean(RetryInfo) || (typeof error.code === "number" && !ErrorInfo);
}

/** Returns the metadata that authenticates this service, which acts for all shops. */
function credentials() {
  const metadata = new grpc.Metadata();
  const secret = process.env.CATALOG_SERVICE_SECRET;
  if (secret) metadata.set("x-service-secret", secret);
  return metadata;
}

/** Starts a sync and returns its id, or the id of the sync that is already running. */
async function startSync(client, shop) {
  const request = { shop, request_id: randomUUID() }; // The id makes a repeated call safe.
  for (let attempt = 0; ; attempt++) {
    try {
      const deadline = Date.now() + 10_000;
      const { sync } = await new Promise((resolve, reject) =>
        client.StartSync(request, credentials(), { deadline }, (error, response) =>
          error ? reject(error) : resolve(response),
        ),
      );
      return sync.sync_id;
    } catch (error) {
      const { ErrorInfo } = detailsOf(error);
      if (ErrorInfo?.reason === "SYNC_ALREADY_RUNNING") return ErrorInfo.metadata.sync_id;
      if (!isRetryable(error) || attempt === 5) throw error;
      await sleep(backoffMs(error, attempt));
    }
  }
}

/** Watches a sync until it ends and returns it, calling again whenever the stream ends before the sync. */
async function watchSync(client, syncId) {
  let seen = "0";
  for (let attempt = 0; ; attempt++) {
    const stream = client.WatchSync({ sync_id: syncId, after_revision: seen }, credentials());
    const watchdog = setTimeout(() => stream.cancel(), STALL_MS);
    let mustReconnect = false;
    try {
      for await (const { sync, heartbeat, reconnect_reason: reason } of stream) {
        watchdog.refresh();
        attempt = 0;
        seen = sync.revision;
        // The place in the queue changes without a new revision: heartbeats show it.
        if (!heartbeat || sync.state === "STATE_PENDING") console.log(lineOf(sync));
        if (ENDED.includes(sync.state)) return sync;
        // Set in the last message of a stream that reached its maximum age, or whose replica shuts down.
        mustReconnect = reason !== "RECONNECT_REASON_UNSPECIFIED";
      }
      if (!mustReconnect) await sleep(backoffMs({}, attempt));
    } catch (error) {
      if (!isRetryable(error) || attempt === 10) throw error;
      console.log(`stream broke (${error.details}): continuing after revision ${seen}`);
      await sleep(backoffMs(error, attempt));
    } finally {
      clearTimeout(watchdog);
      stream.cancel();
    }
  }
}

function lineOf({ state, progress, waiting, error, queue_position: position }) {
  const pending = state === "STATE_PENDING";
  const parts = [pending ? `${position ?? 0} syncs before it` : `${progress.items?.seen_count ?? 0} items`];
  if (waiting) parts.push(`waiting: ${waiting.message}`);
  if (error) parts.push(error.message); // Begins with the reason.
  return [state.replace("STATE_", "").padEnd(9), ...parts].join("  ");
}

async function main([shopName]) {
  const [platform, domain] = (shopName ?? "").split(":");
  if (!domain) throw new Error("usage: node index.js <platform>:<domain>, such as shopify:demo.myshopify.com");
  const address = process.env.CATALOG_ADDRESS || "127.0.0.1:50051";
  const caFile = process.env.CATALOG_CA_FILE; // Without it the connection is not encrypted.
  const transport = caFile ? grpc.credentials.createSsl(readFileSync(caFile)) : grpc.credentials.createInsecure();
  const client = new CatalogService(address, transport, CHANNEL_OPTIONS);
  const syncId = await startSync(client, { platform, domain });
  console.log(`watching sync ${syncId}`);
  const sync = await watchSync(client, syncId);
  client.close();
  return sync.state === "STATE_SUCCEEDED" ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (error) => {
    console.error(error.details || error.message); // An error of the service begins with its reason.
    process.exit(2);
  },
);
