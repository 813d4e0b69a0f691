import assert from "node:assert/strict";
import { test } from "node:test";

import { isLoopback, parseAddress } from "../../src/address.js";

test("an address has the forms that gRPC's other clients accept", () => {
  const one = { host: "10.0.0.1", port: 50051 };
  const two = { host: "10.0.0.2", port: 50052 };
  assert.deepEqual(parseAddress("10.0.0.1:50051"), [one]);
  assert.deepEqual(parseAddress("ipv4:10.0.0.1:50051,10.0.0.2:50052"), [one, two]);
  assert.deepEqual(parseAddress("dns:///catalog.internal:50051"), [{ host: "catalog.internal", port: 50051 }]);
  assert.deepEqual(parseAddress("ipv6:[::1]:50051"), [{ host: "::1", port: 50051 }]);
});

test("an address that cannot be right is refused at once", () => {
  for (const address of ["", "catalog", "catalog:", "http://catalog:50051", "a:1,", "catalog:99999", "::1:50051"]) {
    assert.throws(() => parseAddress(address), TypeError, address);
  }
});

test("a name that begins like the loopback network is another machine", () => {
  assert.ok(isLoopback({ host: "127.0.0.2", port: 1 }));
  assert.ok(!isLoopback({ host: "127.example.com", port: 1 }));
});
