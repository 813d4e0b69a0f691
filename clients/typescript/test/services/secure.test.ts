/** Runs against a catalog with mutual TLS and tokens of operators. */

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { type CatalogClientOptions, createCatalogClient, type Sync, Sync_Mode, Sync_State } from "../../src/index.js";
import { TlsFiles } from "../../src/replica.js";

const SHOP = { platform: "shopify", domain: "demo.myshopify.com" };
const setting = (name: string): string => process.env[name] ?? assert.fail(name);
const ADDRESS = setting("CATALOG_ADDRESS");
const TLS = { caFile: setting("CA_FILE"), certFile: setting("CERT_FILE"), keyFile: setting("KEY_FILE") };
const TOKEN = setting("TOKEN");

const directory = mkdtempSync(join(tmpdir(), "catalogsync-client-"));
after(() => rmSync(directory, { recursive: true }));

async function firstShop(options: Partial<CatalogClientOptions>): Promise<void> {
  const client = createCatalogClient({ address: ADDRESS, tls: TLS, token: TOKEN, ...options });
  try {
    await client.rpc.listShops({ pageSize: 1 });
  } finally {
    client.close();
  }
}

test("a token that expires during a watch is replaced, and the watch goes on", async () => {
  const tokens = [setting("EXPIRING_TOKEN"), TOKEN];
  const client = createCatalogClient({ address: ADDRESS, tls: TLS, token: async () => tokens.shift() ?? assert.fail() });
  const operator = createCatalogClient({ address: ADDRESS, tls: TLS, token: TOKEN });
  const sync = await client.startSync(SHOP, { mode: Sync_Mode.FULL });
  const revisions: bigint[] = [];
  let last: Sync | undefined;
  for await (last of client.watchSync(sync.syncId, {
    // The sync takes longer than the first token is valid, and ends once the watch has taken the second one.
    onConnection: ({ state }) => {
      if (state === "connected" && tokens.length === 0) void operator.rpc.cancelSync({ syncId: sync.syncId });
    },
  })) {
    revisions.push(last.revision);
  }
  assert.equal(tokens.length, 0, "the first token did not expire");
  assert.equal(last?.state, Sync_State.CANCELLED);
  assert.deepEqual(revisions, [...revisions].sort((a, b) => Number(a - b)));
  client.close();
  operator.close();
});

test("the certificate is verified for the host of the address, or for the name that is given", async () => {
  await firstShop({});
  await firstShop({ tls: { ...TLS, serverName: "catalog.internal" } });
  const wrong = { ...TLS, serverName: "another.internal" };
  await assert.rejects(firstShop({ tls: wrong }), { code: "UNAVAILABLE", message: /another\.internal/ });
});

test("a service of another CA is refused", async () => {
  const tls = { ...TLS, caFile: setting("OTHER_CA_FILE") };
  await assert.rejects(firstShop({ tls }), { code: "UNAVAILABLE", message: /certificate/ });
});

test("a client without a certificate is refused by the service", async () => {
  await assert.rejects(firstShop({ tls: { caFile: TLS.caFile } }), { code: "UNAVAILABLE" });
});

test("a wrong token is refused, and neither the error nor its cause shows it", async () => {
  const { inspect } = await import("node:util");
  await assert.rejects(firstShop({ token: "wrong-token" }), (error: unknown) => {
    assert.match(inspect(error), /UNAUTHENTICATED/);
    assert.doesNotMatch(inspect(error, { depth: 20, showHidden: true }), /wrong-token/);
    return true;
  });
});

test("renewed files are used for the next connection; a half replaced pair leaves the last one in use", async () => {
  const certFile = join(directory, "client.pem");
  const keyFile = join(directory, "client.key");
  copyFileSync(TLS.certFile, certFile);
  copyFileSync(TLS.keyFile, keyFile);
  const files = new TlsFiles({ certFile, keyFile });
  const before = files.context();
  copyFileSync(setting("RENEWED_CERT_FILE"), certFile);
  writeFileSync(keyFile, "");
  assert.equal(files.context(), before);
  copyFileSync(setting("RENEWED_KEY_FILE"), keyFile);
  assert.notEqual(files.context(), before);
});

test("a missing file is an error at once, not with the first call", () => {
  const tls = { ...TLS, keyFile: join(directory, "missing.key") };
  assert.throws(() => createCatalogClient({ address: ADDRESS, tls, token: TOKEN }), { code: "ENOENT" });
});
