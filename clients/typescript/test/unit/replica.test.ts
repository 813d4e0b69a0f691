import assert from "node:assert/strict";
import { test } from "node:test";

import { Replica } from "../../src/replica.js";
import { ReplicaSet } from "../../src/replica-set.js";

const TARGET = { host: "127.0.0.1", port: 1, ip: "127.0.0.1" };

test("a connection gets no more watches than a service accepts: the others would wait without an error", () => {
  const replica = new Replica(TARGET, undefined);
  const first = replica.connection;
  while (replica.connection === first && first.watches < 2_000) first.watches += 1;
  assert.ok(first.watches < 1_000);
  assert.notEqual(replica.connection, first);
  first.watches -= 1;
  assert.equal(replica.connection, first);
});

test("a discarded connection is not used again, whichever of its watches noticed first", () => {
  const replica = new Replica(TARGET, undefined);
  const silent = replica.connection;
  replica.discard(silent);
  const next = replica.connection;
  assert.notEqual(next, silent);
  replica.discard(silent);
  assert.equal(replica.connection, next);
});

test("calls alternate between the replicas that answer, and a lost one is tried last", async () => {
  const replicas = new ReplicaSet("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", undefined);
  const pick = async (): Promise<string> => (await replicas.pick()).address;
  const addresses = [await pick(), await pick(), await pick()];
  assert.equal(new Set(addresses).size, 3);
  const lost = await replicas.pick();
  replicas.avoid(lost);
  const others = [await pick(), await pick(), await pick(), await pick()];
  assert.ok(!others.includes(lost.address));
  assert.equal(new Set(others).size, 2);
});

test("when all replicas have failed, the one that failed first is tried first", async () => {
  const replicas = new ReplicaSet("127.0.0.1:1,127.0.0.1:2", undefined);
  const first = await replicas.pick();
  replicas.avoid(first);
  const second = await replicas.pick();
  replicas.avoid(second);
  replicas.avoid(second);
  assert.equal(await replicas.pick(), first);
});
