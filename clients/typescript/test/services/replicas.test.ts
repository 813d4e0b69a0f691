/** Breaks real replicas under a watch. REPLICAS: JSON, the process id by address; one of them survives. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { type ConnectionEvent, createCatalogClient, type Sync, Sync_Mode, Sync_State } from "../../src/index.js";

const SHOP = { platform: "shopify", domain: "demo.myshopify.com" };
const REPLICAS = new Map<string, number>(Object.entries(JSON.parse(process.env["REPLICAS"] ?? "{}")));
const client = createCatalogClient({ address: [...REPLICAS.keys()].join(",") });
after(() => client.close());

/** The items that a follower has received while the replicas broke. */
const followed = new Set<string>();
let position = "";
const stop = new AbortController();
let following: Promise<unknown> = Promise.resolve();

async function follow(): Promise<void> {
  for await (const message of client.followItems(SHOP, { signal: stop.signal, stallMs: 6_000 })) {
    for (const { itemId } of message.items) followed.add(itemId);
    position = message.position;
  }
}

/** Signals the replica that a running sync is watched at; returns what the watcher saw. */
async function watchBroken(signal: NodeJS.Signals): Promise<{ events: ConnectionEvent[]; last: Sync; address: string }> {
  const events: ConnectionEvent[] = [];
  let address = "";
  let isBroken = false;
  let last = await client.startSync(SHOP, { mode: Sync_Mode.FULL });
  const options = { stallMs: 6_000, onConnection: (event: ConnectionEvent) => void events.push(event) };
  for await (const sync of client.watchSync(last.syncId, options)) {
    assert.ok(sync.revision >= last.revision, "the revision went back");
    last = sync;
    if (isBroken || !sync.progress?.items?.seenCount) continue;
    assert.equal(sync.state, Sync_State.RUNNING);
    isBroken = true;
    address = events.findLast(({ state }) => state === "connected")?.address ?? "";
    process.kill(REPLICAS.get(address) ?? assert.fail(address), signal);
    events.length = 0;
  }
  assert.equal(last.state, Sync_State.SUCCEEDED, last.error?.message);
  assert.equal(last.progress?.items?.seenCount, BigInt(process.env["ITEMS"] ?? ""));
  const [reconnected] = events.filter(({ state }) => state === "connected");
  assert.ok(reconnected?.address && reconnected.address !== address, "no other replica");
  return { events, last, address };
}

test("a follower of a registered shop begins before its first sync", async () => {
  await client.rpc.registerShop(SHOP);
  following = follow().catch((error: unknown) => error);
});

test("a drained replica hands the watch over without a failure", async () => {
  const { events } = await watchBroken("SIGTERM");
  assert.deepEqual(events.map(({ state }) => state), ["connected"]);
});

test("a replica that is frozen counts as dead, and the watch goes on at another one", async () => {
  const { events, address } = await watchBroken("SIGSTOP");
  const [broken] = events;
  assert.ok(broken?.state === "disconnected" && broken.address === address);
  assert.equal(broken.error.message, "no message for 6 s");
  process.kill(REPLICAS.get(address) ?? 0, "SIGKILL");
});

test("the watch of a killed replica goes on at another one, and the terminal snapshot comes", async () => {
  const { events, address } = await watchBroken("SIGKILL");
  const [broken] = events;
  assert.ok(broken?.state === "disconnected" && broken.address === address);
  assert.equal(broken.error.code, "UNAVAILABLE");
});

test("the follower has missed no item while its replicas broke", async () => {
  const stored = [];
  for await (const { itemId } of client.items(SHOP, { pageSize: 500 })) stored.push(itemId);
  while (followed.size < stored.length) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([...followed].sort(), stored.sort());
  assert.ok(position);
  stop.abort(new Error("done"));
  assert.equal(((await following) as Error).message, "done");
});

test("unary calls go to the replica that is left", async () => {
  for (let i = 0; i < 2 * REPLICAS.size; i++) {
    const { activeSync } = await client.rpc.getStatus({ shop: SHOP });
    assert.equal(activeSync, undefined);
  }
});
