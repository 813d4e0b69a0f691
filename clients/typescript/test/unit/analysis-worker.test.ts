import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { inspect } from "node:util";
import { Code } from "@connectrpc/connect";

import {
  type Analysis,
  type AnalysisWorkerOptions,
  type CatalogClient,
  type ConnectionEvent,
  createCatalogClient,
  runAnalysisWorker,
  TaskFailedError,
  TaskOutcome_Outcome as Outcome,
} from "../../src/index.js";
import { FakeAnalysis, failure, until } from "../fakes/analysis-service.js";

const GOOD: Analysis = { category: "shirts", qualityScore: "0.9", confidenceScore: "1" };
/** A third of it is short, so that leases are extended within a test, and no whole number, as that of 10 s. */
const LEASE_MS = 100;

let service: FakeAnalysis;
let client: CatalogClient;
let stop: AbortController;

beforeEach(async () => {
  service = new FakeAnalysis();
  await service.start();
  client = createCatalogClient({ address: service.address });
  stop = new AbortController();
});

afterEach(async () => {
  client.close();
  await service.kill();
});

/** Runs a worker until `condition` is true, or until it ends with an error. */
async function workUntil(condition: () => boolean, options: Partial<AnalysisWorkerOptions> = {}): Promise<void> {
  const worker = runAnalysisWorker({
    client,
    analyzer: "quality",
    workerId: "worker",
    modelVersion: "model-1",
    signal: stop.signal,
    analyze: async () => GOOD,
    ...options,
  });
  let hasEnded = false;
  const ended = worker.finally(() => (hasEnded = true));
  ended.catch(() => undefined);
  await until(() => hasEnded || condition());
  stop.abort(new Error("enough"));
  await ended;
}

/** An analysis that ends when the test says so, or with its signal. */
class Controlled {
  readonly running = new Map<string, () => void>();
  readonly aborted: unknown[] = [];
  max = 0;

  readonly analyze: AnalysisWorkerOptions["analyze"] = async ({ leaseId }, signal) => {
    await new Promise<void>((resolve, reject) => {
      this.running.set(leaseId, resolve);
      this.max = Math.max(this.max, this.running.size);
      signal.addEventListener("abort", () => {
        this.aborted.push(signal.reason);
        reject(signal.reason as Error);
      });
    }).finally(() => this.running.delete(leaseId));
    return GOOD;
  };

  finishAll(): void {
    for (const finish of this.running.values()) finish();
  }
}

function imageIds(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `image-${i}`);
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

test("every task gets one result, with the model and the time that it took", async () => {
  service.add(...imageIds(25));
  const ends: Outcome[] = [];
  await workUntil(() => ends.length === 25, { maxInFlight: 4, onTaskEnd: ({ outcome }) => ends.push(outcome) });
  assert.deepEqual([...service.results.keys()].sort(), imageIds(25).sort());
  for (const results of service.results.values()) {
    assert.equal(results.length, 1);
    const { outcome } = results[0] ?? assert.fail();
    assert.ok(outcome.case === "analysis");
    const { modelVersion, qualityScore, category, processingTime } = outcome.value;
    assert.deepEqual([modelVersion, qualityScore, category], ["model-1", "0.9", "shirts"]);
    assert.ok(processingTime);
  }
  assert.deepEqual(new Set(ends), new Set([Outcome.STORED]));
  assert.equal(service.maxLeased, 4);
  assert.equal(GOOD.modelVersion, undefined, "what analyze returned was changed");
});

test("a worker runs no more analyses than it has slots, also over 20 reconnects", async () => {
  service.add(...imageIds(70));
  const controlled = new Controlled();
  let connections = 0;
  const work = workUntil(() => service.results.size === 70, {
    maxInFlight: 3,
    analyze: controlled.analyze,
    onConnection: ({ state }) => {
      assert.equal(state, "connected", "an announced end is no failure");
      connections += 1;
    },
  });
  for (let i = 0; i < 20; i++) {
    await until(() => controlled.running.size === 3 && service.requests.leaseTasks.length > i);
    const requests = service.requests.leaseTasks.length;
    service.endStream();
    controlled.finishAll();
    await until(() => service.requests.leaseTasks.length > requests);
  }
  const finishing = setInterval(() => controlled.finishAll(), 5);
  await work;
  clearInterval(finishing);
  assert.ok(connections > 1);
  assert.equal(controlled.max, 3);
  assert.equal(service.maxLeased, 3);
});

test("an analysis that ignores its lost lease keeps its slot", async () => {
  service.add(...imageIds(2));
  let running = 0;
  let max = 0;
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const work = workUntil(() => service.results.size === 2, {
    maxInFlight: 2,
    leaseDurationMs: LEASE_MS,
    analyze: async () => {
      max = Math.max(max, ++running);
      await finished;
      running -= 1;
      return GOOD;
    },
  });
  await until(() => running === 2);
  service.expireAll();
  // The service sends the tasks again, to the same worker.
  await until(() => service.leased.size === 2 && (service.requests.extendLeases.at(-1)?.leaseIds.includes("lease-3") ?? false));
  finish();
  await work;
  assert.equal(max, 2);
});

test("leases in progress are extended together until their analyses end", async () => {
  service.add(...imageIds(3));
  const controlled = new Controlled();
  const ofAll = (): number => service.requests.extendLeases.filter(({ leaseIds }) => leaseIds.length === 3).length;
  const work = workUntil(() => service.results.size === 3, { leaseDurationMs: LEASE_MS, analyze: controlled.analyze });
  await until(() => ofAll() >= 3);
  const [request] = service.requests.extendLeases;
  assert.equal(request?.workerId, "worker");
  assert.equal(request.leaseDuration?.nanos, LEASE_MS * 1e6);
  controlled.finishAll();
  await work;
});

test("leases are extended again soon after the service was unavailable, and the analyses go on", async () => {
  service.add("image");
  service.errors.extendLeases.push(failure("INTERNAL", Code.DeadlineExceeded), failure("NO", Code.Unavailable, { retry: true }));
  const controlled = new Controlled();
  const work = workUntil(() => service.results.size === 1, { leaseDurationMs: LEASE_MS, analyze: controlled.analyze });
  await until(() => service.requests.extendLeases.length >= 4);
  controlled.finishAll();
  await work;
  assert.deepEqual(controlled.aborted, []);
});

test("a lost lease aborts its analysis, whose result is not submitted", async () => {
  service.add("image");
  const controlled = new Controlled();
  const ends: Outcome[] = [];
  const work = workUntil(() => ends.length === 2, {
    maxInFlight: 1,
    leaseDurationMs: LEASE_MS,
    analyze: controlled.analyze,
    onTaskEnd: ({ outcome }) => ends.push(outcome),
  });
  await until(() => controlled.running.size === 1);
  service.expireAll();
  await until(() => ends.length === 1 && controlled.running.size === 1);
  controlled.finishAll();
  await work;
  assert.deepEqual(controlled.aborted.map(messageOf), ["the lease is lost"]);
  assert.deepEqual(ends, [Outcome.STALE, Outcome.STORED]);
  assert.equal(service.requests.submitResults.length, 1);
});

test("results that come together are submitted in batches of at most 50", async () => {
  service.add(...imageIds(60));
  const controlled = new Controlled();
  const work = workUntil(() => service.results.size === 60, { maxInFlight: 60, analyze: controlled.analyze });
  await until(() => controlled.running.size === 60);
  controlled.finishAll();
  await work;
  assert.deepEqual(service.requests.submitResults.map(({ results }) => results.length), [50, 10]);
});

test("large results are submitted in several calls: the service refuses messages of more than 4 MiB", async () => {
  service.add(...imageIds(3));
  const attributes = { text: "x".repeat(600_000) };
  const analyze = async (): Promise<Analysis> => ({ ...GOOD, attributes });
  await workUntil(() => service.results.size === 3, { analyze });
  assert.deepEqual(service.requests.submitResults.map(({ results }) => results.length), [1, 1, 1]);
});

test("a submit is repeated as it was while the service is unavailable, and the leases are kept", async () => {
  service.add("image");
  const unavailable = Array.from({ length: 9 }, () => failure("STORAGE_UNAVAILABLE", Code.Unavailable, { retry: true }));
  service.errors.submitResults.push(...unavailable);
  await workUntil(() => service.results.size === 1, { leaseDurationMs: LEASE_MS });
  const [first, ...others] = service.requests.submitResults;
  assert.equal(others.length, 9);
  for (const other of others) assert.deepEqual(other, first);
  assert.ok(service.requests.extendLeases.length);
});

test("the worker goes on after its service was killed: leases outlive the stream", async () => {
  service.add(...imageIds(3));
  const controlled = new Controlled();
  const states: ConnectionEvent["state"][] = [];
  const work = workUntil(() => service.results.size === 4, {
    analyze: controlled.analyze,
    onConnection: ({ state }) => states.push(state),
  });
  await until(() => controlled.running.size === 3);
  const finish = [...controlled.running.values()];
  await service.kill();
  await service.start();
  for (const one of finish) one();
  await until(() => service.requests.leaseTasks.length === 2);
  service.add("image-3");
  await until(() => controlled.running.size === 1);
  controlled.finishAll();
  await work;
  assert.deepEqual(states, ["connected", "disconnected", "connected"]);
  assert.equal(service.waiting.length, 0);
});

test("a stream without messages counts as dead", async () => {
  service.isSilent = true;
  service.add("image");
  const errors: string[] = [];
  await workUntil(() => service.results.size === 1, {
    stallMs: 100,
    onConnection: (event) => {
      if (event.state !== "disconnected") return;
      errors.push(event.error.message);
      service.isSilent = false;
    },
  });
  assert.equal(errors[0], "no message for 0.1 s");
});

test("a stopped worker aborts its analyses, gives their leases back at once, and ends after them", async () => {
  service.add(...imageIds(2));
  const controlled = new Controlled();
  let polls = 0;
  let ended = 0;
  await workUntil(() => controlled.running.size === 2, {
    analyze: async (task, signal) => {
      try {
        return await controlled.analyze(task, signal);
      } finally {
        // Some polls later: the leases do not wait for the analyses, the worker does.
        await until(() => service.waiting.length === 2 && ++polls >= 40);
        ended += 1;
      }
    },
  });
  assert.equal(ended, 2);
  assert.deepEqual(controlled.aborted.map(messageOf), ["enough", "enough"]);
  assert.equal(service.leased.size, 0);
  assert.deepEqual(service.requests.extendLeases.map(({ leaseDuration }) => leaseDuration?.seconds), [0n]);
  assert.deepEqual(service.requests.submitResults, []);
});

test("results that wait when the worker stops are submitted", async () => {
  service.add("image");
  let analyzed = 0;
  await workUntil(() => analyzed === 1, {
    analyze: async () => {
      analyzed += 1;
      queueMicrotask(() => queueMicrotask(() => setImmediate(() => stop.abort())));
      return GOOD;
    },
  });
  assert.deepEqual([...service.results.keys()], ["image"]);
});

test("a worker whose service is away stops too", async () => {
  service.add("image");
  const controlled = new Controlled();
  await workUntil(() => controlled.running.size === 1, {
    analyze: (task, signal) => {
      const analysis = controlled.analyze(task, signal);
      void service.kill().then(() => stop.abort());
      return analysis;
    },
  });
  assert.equal(controlled.aborted.length, 1);
  await service.start();
});

test("a worker that cannot submit its results stops too", async () => {
  service.add("image");
  const unavailable = Array.from({ length: 1_000 }, () => failure("STORAGE_UNAVAILABLE", Code.Unavailable, { retry: true }));
  service.errors.submitResults.push(...unavailable);
  await workUntil(() => service.requests.submitResults.length > 4);
  assert.equal(service.results.size, 0);
});

test("a TaskFailedError is submitted as it is, any other one with the name of its class only", async () => {
  service.add("gone", "broken", "odd");
  class ModelError extends Error {}
  const errors: string[] = [];
  await workUntil(() => service.results.size === 3 && errors.length === 3, {
    analyze: async ({ imageId }) => {
      if (imageId === "gone") throw new TaskFailedError("IMAGE_NOT_FOUND", "x".repeat(2_000), true);
      if (imageId === "odd") throw "hush-hush";
      throw new ModelError("http://user:hush-hush@gpu.internal failed");
    },
    onTaskEnd: ({ task, outcome, error }) => errors.push(`${task.imageId} ${Outcome[outcome]} ${messageOf(error).slice(0, 9)}`),
  });
  assert.deepEqual(service.failuresOf("gone"), [{ reason: "IMAGE_NOT_FOUND", message: "x".repeat(1_000), permanent: true }]);
  assert.deepEqual(service.failuresOf("broken"), [{ reason: "INTERNAL", message: "ModelError", permanent: false }]);
  assert.deepEqual(service.failuresOf("odd"), [{ reason: "INTERNAL", message: "string", permanent: false }]);
  assert.deepEqual(errors.sort(), ["broken RETRY http://us", "gone DEAD xxxxxxxxx", "odd RETRY hush-hush"]);
  assert.ok(!inspect(service.requests, { depth: 20 }).includes("hush"));
});

test("an analysis that takes too long is aborted, and fails", async () => {
  service.add("image");
  const controlled = new Controlled();
  await workUntil(() => service.results.size === 1, { timeLimitMs: 20, analyze: controlled.analyze });
  assert.deepEqual(service.failuresOf("image"), [{ reason: "TIMED_OUT", message: "no result after 20 ms", permanent: false }]);
});

test("the reason of a TaskFailedError is checked where it is made", () => {
  for (const reason of ["", "not found", "404", "X".repeat(64)]) assert.throws(() => new TaskFailedError(reason), TypeError);
  assert.equal(new TaskFailedError("NO_IMAGE").permanent, false);
});

test("an invalid result fails its own task, and not those that are submitted with it", async () => {
  service.add("invalid", "good", "of-a-wrong-type", "too-large", "none", "nul");
  const results: Record<string, unknown> = {
    invalid: { ...GOOD, qualityScore: "excellent" },
    good: GOOD,
    "of-a-wrong-type": { ...GOOD, qualityScore: 0.9 },
    "too-large": { ...GOOD, attributes: { text: "x".repeat(2 << 20) } },
  };
  const analyze = async ({ imageId }: { imageId: string }): Promise<Analysis> => {
    if (imageId === "nul") throw new TaskFailedError("UNREADABLE", "\0");
    return results[imageId] as Analysis;
  };
  await workUntil(() => service.results.size === 6, { analyze });
  const [invalid] = service.failuresOf("invalid");
  assert.equal(invalid?.reason, "RESULT_INVALID");
  assert.equal(invalid.message, "results[0].analysis.quality_score: is not a decimal");
  assert.deepEqual(service.failuresOf("good"), []);
  assert.deepEqual(service.failuresOf("of-a-wrong-type").map(({ reason }) => reason), ["INTERNAL"]);
  assert.deepEqual(service.failuresOf("too-large").map(({ reason }) => reason), ["RESULT_INVALID"]);
  assert.deepEqual(service.failuresOf("nul").map(({ reason }) => reason), ["RESULT_INVALID"]);
  assert.deepEqual(service.failuresOf("none").map(({ reason }) => reason), ["RESULT_INVALID"]);
});

test("an error that does not pass ends the worker, which gives its leases back first", async () => {
  const denied = { reason: "PERMISSION_DENIED", code: "PERMISSION_DENIED" };
  for (const method of ["leaseTasks", "extendLeases", "submitResults"] as const) {
    stop = new AbortController();
    service.waiting.splice(0, Infinity, "one", "two");
    service.errors[method].push(failure("PERMISSION_DENIED", Code.PermissionDenied));
    const controlled = new Controlled();
    // A third of it is also the deadline of ExtendLeases, which a busy machine must not miss here.
    const worker = workUntil(() => false, { leaseDurationMs: 3_000, analyze: controlled.analyze });
    worker.catch(() => undefined);
    if (method !== "leaseTasks") await until(() => controlled.running.size === 2);
    if (method === "submitResults") [...controlled.running.values()][0]?.();
    await assert.rejects(worker, denied, method);
    assert.ok(service.waiting.includes("two"), method);
    assert.equal(controlled.running.size, 0, method);
  }
});

test("an error of a callback ends the worker", async () => {
  service.add("image");
  const onTaskEnd = (): void => {
    throw new Error("the log is full");
  };
  await assert.rejects(workUntil(() => false, { onTaskEnd }), { message: "the log is full" });
});

test("the number of slots is checked", async () => {
  for (const maxInFlight of [0, 101, 1.5, NaN]) {
    await assert.rejects(workUntil(() => false, { maxInFlight }), RangeError);
  }
});

test("iterators follow the pages of analyses, and requeue calls again while there are more", async () => {
  service.add("one", "two", "three");
  await workUntil(() => service.results.size === 3);
  const listed = [];
  for await (const { imageId } of client.analyses("shopify:demo.myshopify.com", "quality")) listed.push(imageId);
  assert.deepEqual(listed.sort(), ["one", "three", "two"]);
  service.dead.push("four", "five", "six");
  const requeued = await client.requeue("shopify:demo.myshopify.com", "quality", { case: "dead", value: true });
  assert.equal(requeued, 3n);
  assert.deepEqual(service.waiting.sort(), ["five", "four", "six"]);
});
