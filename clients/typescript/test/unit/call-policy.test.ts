import assert from "node:assert/strict";
import { test } from "node:test";

import { backoffMs, policyOf } from "../../src/call-policy.js";
import { AnalysisService, CatalogService } from "../../src/index.js";

const METHODS = [...CatalogService.methods, ...AnalysisService.methods];

test("every method has a deadline or retries: a new RPC is not forgotten in the service config", () => {
  for (const { name } of METHODS) {
    const { timeoutMs, retry } = policyOf(name);
    assert.ok(timeoutMs || retry, name);
  }
});

test("unary calls have a deadline and streams have none: a watch may last for hours", () => {
  for (const { name, methodKind } of METHODS) {
    assert.equal(policyOf(name).timeoutMs === undefined, methodKind === "server_streaming", name);
  }
});

test("no two methods have the same name: policies are found, and client.rpc is made, by name", () => {
  assert.equal(new Set(METHODS.map(({ name }) => name)).size, METHODS.length);
});

test("StartSync is not in the retries of the config: without a request_id a repeated call starts a second sync", () => {
  assert.equal(policyOf("StartSync").retry, undefined);
  assert.equal(policyOf("ResumeSync").retry, undefined);
});

test("the backoff grows to its limit, and is never shorter than the service asked for", () => {
  const { retry } = policyOf("WatchSync");
  assert.ok(retry);
  for (let attempts = 1; attempts < 100; attempts++) {
    const wait = backoffMs(retry, attempts, 700);
    assert.ok(wait >= 700 && wait <= 700 + retry.maxBackoffMs);
    assert.ok(attempts > 1 || wait <= 700 + retry.initialBackoffMs);
  }
});

test("the backoff has full jitter: the clients of a killed replica do not come back all at once", () => {
  const { retry } = policyOf("WatchSync");
  assert.ok(retry);
  const waits = Array.from({ length: 200 }, () => backoffMs(retry, 10));
  assert.ok(Math.min(...waits) < retry.maxBackoffMs / 4);
  assert.ok(Math.max(...waits) > (retry.maxBackoffMs * 3) / 4);
});
