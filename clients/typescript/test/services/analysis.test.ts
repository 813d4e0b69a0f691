/** Analyzes a real shop while its replica is killed. REPLICAS: JSON, the process id by address; one of them survives. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import {
  AnalysisState,
  type AnalysisWorkerOptions,
  createCatalogClient,
  type Item,
  runAnalysisWorker,
  shopRef,
  Sync_Mode,
  type TaskEnd,
  TaskFailedError,
  TaskOutcome_Outcome as Outcome,
} from "../../src/index.js";

const SHOP = "shopify:demo.myshopify.com";
const REPLICAS = new Map<string, number>(Object.entries(JSON.parse(process.env["REPLICAS"] ?? "{}")));
const client = createCatalogClient({ address: [...REPLICAS.keys()].join(",") });
after(() => client.close());

async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const collected = [];
  for await (const value of values) collected.push(value);
  return collected;
}

async function switchOn(analyzers: string[]): Promise<void> {
  await client.rpc.updateShop({ shop: shopRef(SHOP), update: { analyzers }, updateMask: { paths: ["analyzers"] } });
}

/** Runs a worker until `hasEnded` is true after a task. */
async function workUntil(hasEnded: () => boolean, options: Partial<AnalysisWorkerOptions>): Promise<TaskEnd[]> {
  const stop = new AbortController();
  const ends: TaskEnd[] = [];
  await runAnalysisWorker({
    client,
    analyzer: "size",
    modelVersion: "1",
    leaseDurationMs: 10_000,
    signal: stop.signal,
    analyze: async () => ({ category: "shirt", qualityScore: "0.25", confidenceScore: "1" }),
    ...options,
    onTaskEnd: (end) => {
      ends.push(end);
      options.onTaskEnd?.(end);
      if (hasEnded()) stop.abort();
    },
  });
  return ends;
}

let items: Item[] = [];

test("every image gets exactly one result although the replica of the stream is killed", async () => {
  await client.syncAndWait(SHOP, { mode: Sync_Mode.FULL });
  items = (await collect(client.items(SHOP, { pageSize: 250 }))).filter(({ imageUrl }) => imageUrl);
  const images = new Set(items.map(({ imageUrl }) => imageUrl));
  assert.ok(images.size > 100);
  await switchOn(["size"]);
  const analyzed = new Set<string>();
  let address = "";
  let isKilled = false;
  const ends = await workUntil(() => analyzed.size === images.size, {
    maxInFlight: 8,
    onConnection: (event) => {
      if (event.state === "connected") ({ address } = event);
    },
    onTaskEnd: ({ task, outcome }) => {
      // A submit whose answer was lost is repeated, and answered as before or with STALE.
      if (outcome !== Outcome.STALE) assert.equal(outcome, Outcome.STORED);
      analyzed.add(task.imageUrl);
      if (isKilled || analyzed.size < images.size / 3) return;
      isKilled = true;
      process.kill(REPLICAS.get(address) ?? assert.fail(address), "SIGKILL");
    },
  });
  assert.ok(isKilled);
  const stored = ends.filter(({ outcome }) => outcome === Outcome.STORED).map(({ task }) => task.imageId);
  assert.equal(new Set(stored).size, stored.length, "a result was stored twice");
  const results = await collect(client.analyses(SHOP, "size", { pageSize: 50 }));
  assert.deepEqual(results.map(({ imageUrl }) => imageUrl).sort(), [...images].sort());
  for (const { state, result } of results) {
    assert.equal(state, AnalysisState.ANALYZED);
    assert.equal(result?.modelVersion, "1");
    assert.equal(Number(result.qualityScore), 0.25);
  }
});

test("the status of the shop, its items and the filters show the results", async () => {
  const { analysis } = await client.rpc.getStatus({ shop: shopRef(SHOP) });
  assert.equal(analysis?.analyzedItemCount, BigInt(items.length));
  assert.equal(analysis.pendingItemCount + analysis.failedItemCount, 0n);
  const analyzed = await collect(client.items(SHOP, { analysisState: AnalysisState.ANALYZED, pageSize: 250 }));
  assert.deepEqual(analyzed.map(({ itemId }) => itemId).sort(), items.map(({ itemId }) => itemId).sort());
  for (const item of analyzed) assert.deepEqual(item.analysis?.results.map(({ category }) => category), ["shirt"]);
  const [{ itemId } = assert.fail()] = items;
  const { analyses } = await client.rpc.getAnalysis({ shop: shopRef(SHOP), itemId });
  assert.deepEqual(analyses.map(({ analyzer }) => analyzer), ["size"]);
  assert.deepEqual(await collect(client.analyses(SHOP, "size", { minQualityScore: "0.3" })), []);
});

test("dead tasks are listed with their reason, and analyzed again when they are requeued", async () => {
  await switchOn(["size", "faces"]);
  const limit = 20;
  let count = 0;
  await workUntil(() => ++count === limit, {
    analyzer: "faces",
    maxInFlight: 1,
    analyze: async () => {
      throw new TaskFailedError("NO_FACE", "nobody is there", true);
    },
  });
  const dead = await collect(client.deadTasks(SHOP, { analyzer: "faces", pageSize: 7 }));
  assert.equal(dead.length, limit);
  assert.deepEqual(new Set(dead.map(({ failure }) => failure?.reason)), new Set(["NO_FACE"]));
  assert.equal(await client.requeue(SHOP, "faces", { case: "dead", value: true }), BigInt(limit));
  assert.deepEqual(await collect(client.deadTasks(SHOP)), []);
});

test("an unknown analyzer, and a lease that is too short, are refused", async () => {
  const requeue = client.requeue(SHOP, "none", { case: "dead", value: true });
  await assert.rejects(requeue, { reason: "ANALYZER_NOT_ENABLED", code: "FAILED_PRECONDITION" });
  const worker = workUntil(() => true, { leaseDurationMs: 1_000 });
  await assert.rejects(worker, { reason: "INVALID_REQUEST" });
});

test("a result that the service refuses fails its own task, as the service words it", async () => {
  const good = { qualityScore: "0.5", confidenceScore: "1" };
  await switchOn(["size", "colors"]);
  const ends: TaskEnd[] = [];
  let isFirst = true;
  await workUntil(() => ends.length >= 10, {
    analyzer: "colors",
    analyze: async () => {
      const qualityScore = isFirst ? "1.5" : "0.5";
      isFirst = false;
      return { ...good, qualityScore };
    },
    onTaskEnd: (end) => ends.push(end),
  });
  const outcomes = ends.map(({ outcome }) => outcome);
  assert.equal(outcomes.filter((outcome) => outcome === Outcome.RETRY).length, 1);
  const pending = await collect(client.analyses(SHOP, "colors", { state: AnalysisState.PENDING }));
  const failures = pending.flatMap(({ failure }) => failure ?? []);
  assert.deepEqual(failures.map(({ reason }) => reason), ["RESULT_INVALID"]);
  assert.match(failures[0]?.message ?? "", /quality_score/);
});
