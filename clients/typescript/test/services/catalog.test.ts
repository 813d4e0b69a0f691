/** Runs against a real catalog, connector and shop: CATALOG_ADDRESS. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import {
  CatalogError,
  createCatalogClient,
  hasEnded,
  type ShopName,
  shopRef,
  type Sync,
  Sync_Mode,
  Sync_State,
  type SyncAndWaitOptions,
} from "../../src/index.js";

const SHOP = "shopify:demo.myshopify.com";
const client = createCatalogClient({ address: process.env["CATALOG_ADDRESS"] ?? "" });
after(() => client.close());

async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const collected = [];
  for await (const value of values) collected.push(value);
  return collected;
}

/** Syncs a shop; on a busy machine the shop may not answer in time, which is not what these tests are about. */
async function syncToEnd(shop: ShopName, options: SyncAndWaitOptions = {}): Promise<Sync> {
  for (;;) {
    try {
      return await client.syncAndWait(shop, options);
    } catch (error) {
      if (!(error instanceof CatalogError) || error.reason !== "SOURCE_UNREACHABLE") throw error;
    }
  }
}

let sync: Sync;

test("syncAndWait shows the progress with growing revisions, and returns the terminal snapshot", async () => {
  const seen: Sync[] = [];
  sync = await syncToEnd(SHOP, { mode: Sync_Mode.FULL, onProgress: (each) => seen.push(each) });
  assert.equal(sync.state, Sync_State.SUCCEEDED);
  assert.equal(seen.at(-1), sync);
  const revisions = seen.filter(({ syncId }) => syncId === sync.syncId).map(({ revision }) => revision);
  assert.ok(revisions.every((revision, i) => i === 0 || revision >= (revisions[i - 1] ?? 0n)));
  assert.ok((sync.progress?.items?.seenCount ?? 0n) > 0n);
});

test("an iterator follows its pages to the end: every item comes once", async () => {
  const ids = (await collect(client.items(SHOP, { pageSize: 7 }))).map(({ itemId }) => itemId);
  assert.equal(BigInt(ids.length), sync.progress?.items?.seenCount);
  assert.equal(new Set(ids).size, ids.length);
  const products = await collect(client.products(SHOP, { pageSize: 7 }));
  assert.equal(BigInt(products.length), sync.progress?.products?.seenCount);
  assert.deepEqual(products.flatMap(({ items }) => items.map(({ itemId }) => itemId)).sort(), ids.sort());
});

test("filters are those of the contract", async () => {
  const [first] = await collect(client.items(SHOP));
  assert.ok(first);
  const found = await collect(client.items(SHOP, { productId: first.productId }));
  assert.ok(found.length && found.every(({ productId }) => productId === first.productId));
  const domains = (await collect(client.shops({ platform: "shopify", pageSize: 1 }))).map(({ shop }) => shop?.domain);
  assert.ok(domains.includes("demo.myshopify.com"));
  const syncs = await collect(client.syncs({ shop: SHOP, states: [Sync_State.SUCCEEDED], pageSize: 1 }));
  assert.ok(syncs.some(({ syncId }) => syncId === sync.syncId));
  assert.equal(BigInt((await collect(client.issues(sync.syncId, { pageSize: 1 }))).length), sync.progress?.issueCount);
});

test("a watch whose revision is not known any more, as after a restored backup, starts over", async () => {
  const snapshots = await collect(client.watchSync(sync.syncId, { afterRevision: sync.revision + 1_000n }));
  assert.deepEqual(snapshots.map(({ revision }) => revision), [sync.revision]);
});

test("a watch of an ended sync yields the terminal snapshot, also to a caller who has its revision", async () => {
  const snapshots = await collect(client.watchSync(sync.syncId, { afterRevision: sync.revision }));
  assert.equal(snapshots.length, 1);
  assert.ok(snapshots.every(hasEnded));
});

test("a second start joins the running sync instead of failing", async () => {
  const shop = { platform: "woocommerce", domain: "silent.example" };
  const running = await client.startSync(shop);
  await assert.rejects(client.startSync(shop), { reason: "SYNC_ALREADY_RUNNING", code: "ALREADY_EXISTS" });
  const seen: string[] = [];
  const waiting = client.syncAndWait(shop, { onProgress: ({ syncId }) => seen.push(syncId) });
  await assert.rejects(waiting, (error) => error instanceof CatalogError && error.reason === "SOURCE_UNREACHABLE");
  assert.ok(seen.length && seen.every((syncId) => syncId === running.syncId));
});

test("a repeated start with the same requestId returns the same sync", async () => {
  const shop = { platform: "woocommerce", domain: "new.example" };
  const requestId = crypto.randomUUID();
  const first = await client.startSync(shop, { requestId });
  assert.equal((await client.startSync(shop, { requestId })).syncId, first.syncId);
  await collect(client.watchSync(first.syncId));
  // Without one each call creates another sync.
  const second = await client.startSync(shop);
  assert.notEqual(second.syncId, first.syncId);
  await client.syncAndWait(shop).catch(() => undefined);
});

test("an invalid request says which field is wrong and why", async () => {
  await assert.rejects(client.startSync({ platform: "amazon", domain: "demo.example" }), (error) => {
    assert.ok(error instanceof CatalogError);
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.equal(error.reason, "INVALID_REQUEST");
    assert.deepEqual(error.fieldViolations.map(({ field }) => field), ["shop.platform"]);
    assert.ok(!error.isTransient);
    return true;
  });
});

test("an error is final for a watch too: it is not tried again for minutes", async () => {
  const syncId = crypto.randomUUID();
  const watch = collect(client.watchSync(syncId, { onConnection: () => assert.fail("no connection event") }));
  await assert.rejects(watch, { reason: "SYNC_NOT_FOUND", metadata: { sync_id: syncId } });
});

test("an aborted signal ends a watch with its reason, and leaving the loop ends the call", async () => {
  const controller = new AbortController();
  const following = (async () => {
    for await (const { caughtUp } of client.followItems(SHOP, { signal: controller.signal })) {
      if (caughtUp) controller.abort(new Error("the browser went away"));
    }
  })();
  await assert.rejects(following, { message: "the browser went away" });
  for await (const { caughtUp } of client.followItems(SHOP)) if (caughtUp) break;
});

test("a follower begins with all items, and continues after a position without repeating them", async () => {
  let position = "";
  let items = 0;
  for await (const message of client.followItems(SHOP)) {
    items += message.items.length;
    position = message.position;
    if (message.caughtUp) break;
  }
  assert.equal(items, (await collect(client.items(SHOP))).length);
  for await (const message of client.followItems(SHOP, { afterPosition: position })) {
    assert.equal(message.items.length, 0);
    if (message.caughtUp) break;
  }
});

test("leaving the loop of a bare stream ends its call", async () => {
  // The service has a limit of 20 watchers per shop, above which calls fail.
  for (let i = 0; i < 25; i++) {
    for await (const { items } of client.rpc.watchItems({ shop: shopRef(SHOP) })) {
      assert.ok(items);
      break;
    }
  }
});

test("the calls of the contract without a method of their own are typed too", async () => {
  const { shop, itemCount } = await client.rpc.getStatus({ shop: shopRef(SHOP) });
  assert.equal(shop?.domain, "demo.myshopify.com");
  assert.ok(itemCount > 0n);
});

test("a deadline ends a call, whoever is slow", async () => {
  await assert.rejects(client.rpc.getStatus({ shop: shopRef(SHOP) }, { timeoutMs: 1 }), { code: "DEADLINE_EXCEEDED" });
});
