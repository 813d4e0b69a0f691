import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { codeName } from "../../src/errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import { CatalogError, SyncSchema } from "../../src/index.js";

const INFO = { reason: "RATE_LIMITED", metadata: { limit: "50" } };

test("an error has the reason, the delay, the metadata and the invalid fields of its details", () => {
  const error = CatalogError.from(
    new ConnectError("RATE_LIMITED: slower", Code.ResourceExhausted, undefined, [
      { desc: ErrorInfoSchema, value: { ...INFO, domain: "catalogsync" } },
      { desc: RetryInfoSchema, value: { retryDelay: { seconds: 1n, nanos: 500_000_000 } } },
      { desc: BadRequestSchema, value: { fieldViolations: [{ field: "shop", description: "is required" }] } },
    ]),
  );
  const { code, reason, retryAfterMs, metadata, fieldViolations, isTransient } = error;
  assert.deepEqual(
    { code, reason, retryAfterMs, metadata, fieldViolations, isTransient },
    {
      code: "RESOURCE_EXHAUSTED",
      reason: "RATE_LIMITED",
      retryAfterMs: 1500,
      metadata: { limit: "50" },
      fieldViolations: [{ field: "shop", description: "is required" }],
      isTransient: true,
    },
  );
});

test("the reason of another service, such as a proxy, is not taken for one of ours", () => {
  const details = [{ desc: ErrorInfoSchema, value: { ...INFO, domain: "proxy.example" } }];
  const error = CatalogError.from(new ConnectError("no", Code.PermissionDenied, undefined, details));
  assert.equal(error.reason, "");
  assert.deepEqual(error.metadata, {});
});

test("a reset connection is UNAVAILABLE: Connect calls it ABORTED, which is no reason to call again", () => {
  const reset = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  const error = CatalogError.from(new ConnectError("read ECONNRESET", Code.Aborted, undefined, undefined, reset));
  assert.equal(error.code, "UNAVAILABLE");
  assert.ok(error.isTransient);
});

test("an INTERNAL error of the service is final, although a broken connection has that code too", () => {
  const details = [{ desc: ErrorInfoSchema, value: { reason: "INTERNAL", domain: "catalogsync" } }];
  const error = CatalogError.from(new ConnectError("INTERNAL: error 7", Code.Internal, undefined, details));
  assert.equal(error.code, "INTERNAL");
  assert.ok(!error.isTransient);
});

test("the error of a failed sync has its reason and the sync, and is never transient: another call is another sync", () => {
  const info = create(ErrorInfoSchema, { reason: "SOURCE_UNREACHABLE", domain: "catalogsync" });
  const status = {
    code: Code.Unavailable,
    message: "SOURCE_UNREACHABLE: the shop does not answer",
    details: [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: toBinary(ErrorInfoSchema, info) }],
  };
  const sync = create(SyncSchema, { syncId: "s", error: status });
  const error = CatalogError.ofSync(sync);
  assert.equal(error.reason, "SOURCE_UNREACHABLE");
  assert.equal(error.code, "UNAVAILABLE");
  assert.equal(error.sync, sync);
  assert.ok(!error.isTransient);
  assert.ok(!CatalogError.ofSync(create(SyncSchema, { syncId: "s" })).isTransient);
});

test("codes have gRPC's names", () => {
  const names = [Code.Canceled, Code.DeadlineExceeded, Code.NotFound, Code.Unavailable].map(codeName);
  assert.deepEqual(names, ["CANCELLED", "DEADLINE_EXCEEDED", "NOT_FOUND", "UNAVAILABLE"]);
});
