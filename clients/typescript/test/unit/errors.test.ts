import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { codeName } from "../../src/errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.js";
import { CatalogError } from "../../src/index.js";

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

test("the error of a failed sync has the same form as that of a call", () => {
  const info = create(ErrorInfoSchema, { reason: "SOURCE_UNAUTHORIZED", domain: "catalogsync" });
  const status = create(StatusSchema, {
    code: Code.FailedPrecondition,
    message: "SOURCE_UNAUTHORIZED: connect the shop again",
    details: [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: toBinary(ErrorInfoSchema, info) }],
  });
  const error = CatalogError.fromStatus(status);
  assert.equal(error.reason, "SOURCE_UNAUTHORIZED");
  assert.equal(error.code, "FAILED_PRECONDITION");
});

test("codes have gRPC's names", () => {
  const names = [Code.Canceled, Code.DeadlineExceeded, Code.NotFound, Code.Unavailable].map(codeName);
  assert.deepEqual(names, ["CANCELLED", "DEADLINE_EXCEEDED", "NOT_FOUND", "UNAVAILABLE"]);
});
