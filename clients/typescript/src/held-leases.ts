/** The leases of a worker: extended while their tasks are in progress, and given back at the end. */

import { durationFromMs } from "@bufbuild/protobuf/wkt";

import { policyOf } from "./call-policy.js";
import type { CatalogClient } from "./catalog-client.js";
import { CatalogError } from "./errors.js";
import { CallSignal, pause } from "./signals.js";

/** The service accepts so many leases in one call. */
const MAX_BATCH = 100;
/** Time until the next attempt after leases could not be extended. */
const RETRY_MS = 1_000;

/** The lease of a task in progress. */
export class Lease {
  readonly id: string;
  /** Whether the analysis has ended: its result waits to be submitted, or is being submitted. */
  isAnalyzed = false;
  readonly #controller = new AbortController();

  constructor(id: string) {
    this.id = id;
  }

  /** Aborted when the lease is lost or given back. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(reason: unknown): void {
    this.#controller.abort(reason);
  }
}

/** The leases that the worker holds, as far as it knows. */
export class HeldLeases {
  readonly #client: CatalogClient;
  readonly #workerId: string;
  readonly #durationMs: number;
  readonly #leases = new Map<string, Lease>();

  constructor(client: CatalogClient, workerId: string, durationMs: number) {
    this.#client = client;
    this.#workerId = workerId;
    this.#durationMs = durationMs;
  }

  has(id: string): boolean {
    return this.#leases.has(id);
  }

  /** Adds a lease that has begun. */
  add(id: string): Lease {
    const lease = new Lease(id);
    this.#leases.set(id, lease);
    return lease;
  }

  /** Removes the lease of a task that has ended. */
  remove(lease: Lease): void {
    this.#leases.delete(lease.id);
  }

  /** Extends all leases each third of their duration until the signal is aborted, whose reason it throws. */
  async extend(signal: AbortSignal): Promise<void> {
    const thirdMs = this.#durationMs / 3;
    for (let delayMs = thirdMs; ; ) {
      await pause(delayMs, signal);
      delayMs = (await this.#extendOnce(thirdMs, signal)) ? thirdMs : Math.min(thirdMs, RETRY_MS);
    }
  }

  /** Aborts the analyses that have not ended, and lets other workers have their tasks at once. */
  async giveBack(reason: unknown): Promise<void> {
    const leases = [...this.#leases.values()].filter(({ isAnalyzed }) => !isAnalyzed);
    for (const lease of leases) lease.end(reason);
    try {
      await this.#send(leases, 0);
    } catch {
      // The leases expire by themselves.
    }
  }

  /** Returns whether the service has extended the leases; false: it is unavailable. */
  async #extendOnce(thirdMs: number, signal: AbortSignal): Promise<boolean> {
    const call = new CallSignal(signal);
    const { timeoutMs = Infinity } = policyOf("ExtendLeases");
    // A service that does not answer must leave time for another attempt.
    const options = { signal: call.signal, ...(thirdMs < timeoutMs && { timeoutMs: thirdMs }) };
    try {
      await this.#send([...this.#leases.values()], this.#durationMs, options);
      return true;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = CatalogError.from(thrown);
      if (!error.isTransient && error.code !== "DEADLINE_EXCEEDED") throw error;
      return false;
    } finally {
      call.end();
    }
  }

  async #send(leases: readonly Lease[], durationMs: number, options: object = {}): Promise<void> {
    const leaseDuration = durationFromMs(durationMs);
    for (let start = 0; start < leases.length; start += MAX_BATCH) {
      const leaseIds = leases.slice(start, start + MAX_BATCH).map(({ id }) => id);
      const request = { workerId: this.#workerId, leaseIds, leaseDuration };
      const { lostLeaseIds } = await this.#client.rpc.extendLeases(request, options);
      for (const id of lostLeaseIds) this.#lose(id);
    }
  }

  #lose(id: string): void {
    this.#leases.get(id)?.end(new Error("the lease is lost"));
    this.#leases.delete(id);
  }
}
