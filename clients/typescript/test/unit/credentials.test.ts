import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { Credentials } from "../../src/credentials.js";
import { createCatalogClient } from "../../src/index.js";

test("calls whose token expired together ask the provider once", async () => {
  let calls = 0;
  const credentials = new Credentials({ token: async () => `token-${++calls}` });
  const sent = await credentials.headers();
  const fresh = await Promise.all([credentials.refresh(sent), credentials.refresh(sent), credentials.refresh(sent)]);
  assert.deepEqual(fresh, [true, true, true]);
  assert.equal(calls, 2);
  assert.deepEqual(await credentials.headers(), { authorization: "Bearer token-2" });
});

test("a token that the provider returns again is not fresh: the call fails instead of looping", async () => {
  const credentials = new Credentials({ token: () => "always" });
  assert.equal(await credentials.refresh(await credentials.headers()), false);
});

test("a provider that failed is asked again by the next call", async () => {
  let calls = 0;
  const credentials = new Credentials({
    token: async () => {
      if (++calls === 1) throw new Error("the identity provider is down");
      return "token";
    },
  });
  await assert.rejects(credentials.headers(), { code: "UNAVAILABLE" });
  assert.deepEqual(await credentials.headers(), { authorization: "Bearer token" });
});

test("neither a client nor its credentials show a secret when they are logged", () => {
  const secret = "bff:hush-hush";
  for (const options of [{ token: "hush-hush" }, { serviceSecret: secret }]) {
    const client = createCatalogClient({ address: "127.0.0.1:1", ...options });
    const shown = inspect([client, new Credentials(options)], { depth: 10, showHidden: true }) + JSON.stringify(client);
    assert.ok(!shown.includes("hush-hush"), shown);
  }
});

test("credentials are not sent to another machine without encryption", () => {
  const options = { address: "catalog.internal:50051", token: "token" };
  assert.throws(() => createCatalogClient(options), /TLS/);
  createCatalogClient({ ...options, tls: true }).close();
  createCatalogClient({ ...options, allowPlaintextCredentials: true }).close();
});

test("clients of several callers share the connections, and only the first one closes them", async () => {
  const first = createCatalogClient({ address: "127.0.0.1:1", serviceSecret: "bff:secret" });
  const merchant = first.authenticatedBy({ token: "token" });
  merchant.close();
  // Port 1 refuses connections: that is UNAVAILABLE, and a closed client is not.
  await assert.rejects(first.getSync("s"), { code: "UNAVAILABLE" });
  first.close();
  await assert.rejects(merchant.getSync("s"), { message: "the client is closed" });
});

test("a client for another caller has none of the first one's credentials, and the same rules", () => {
  const first = createCatalogClient({ address: "catalog.internal:50051" });
  assert.throws(() => first.authenticatedBy({ token: "token" }), /TLS/);
});

test("a token or secret that cannot be a header is refused without being shown", async () => {
  const isHidden = (error: unknown): boolean => error instanceof Error && !inspect(error).includes("hush");
  await assert.rejects(createCatalogClient({ address: "127.0.0.1:1", token: "hush\u0000" }).getSync("s"), isHidden);
  assert.throws(() => createCatalogClient({ address: "127.0.0.1:1", serviceSecret: "bff:hush\n" }), isHidden);
});

test("a token that was read from a file may end with a line break", async () => {
  const credentials = new Credentials({ token: () => "token\n" });
  assert.deepEqual(await credentials.headers(), { authorization: "Bearer token" });
});
