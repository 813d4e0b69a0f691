/** Runs against a fake whose first calls fail and whose first streams end: CATALOG_ADDRESS. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { createCatalogClient, Sync_State } from "../../src/index.js";

const SHOP = { platform: "shopify", domain: "demo.myshopify.com" };
const client = createCatalogClient({ address: process.env["CATALOG_ADDRESS"] ?? "" });
after(() => client.close());

test("a start that fails while the database is away is repeated, and starts one sync", async () => {
  const { syncId } = await client.startSync(SHOP);
  const syncs = [];
  for await (const sync of client.syncs({ shop: SHOP })) syncs.push(sync.syncId);
  assert.deepEqual(syncs, [syncId]);
});

test("streams that end as announced are followed by others without a failure", async () => {
  const [running] = (await client.rpc.listSyncs({ shop: SHOP })).syncs;
  assert.ok(running);
  const addresses: string[] = [];
  let last;
  const watch = client.watchSync(running.syncId, {
    onConnection: (event) => (event.state === "connected" ? addresses.push(event.address) : assert.fail(event.error)),
  });
  const done = (async () => {
    for await (const sync of watch) last = sync;
  })();
  while (addresses.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
  await client.cancelSync(running.syncId);
  await done;
  assert.equal((last as { state?: Sync_State } | undefined)?.state, Sync_State.CANCELLED);
});

test("a follower whose service was killed continues after its last position, at the same address", async () => {
  const received: string[] = [];
  const states: string[] = [];
  for await (const message of client.followItems(SHOP, { onConnection: ({ state }) => states.push(state) })) {
    received.push(...message.items.map(({ itemId }) => itemId));
    if (!message.caughtUp) continue;
    if (states.includes("disconnected")) break;
    // With this call the fake ends, and starts again at the same port.
    await client.rpc.getStatus({ shop: SHOP }).catch(() => undefined);
  }
  assert.deepEqual(received, ["1", "2", "3"]);
  assert.equal(states.at(-1), "connected");
});
