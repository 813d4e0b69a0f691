/** Submits results of tasks in batches, again and again while the service is unavailable. */

import { create, toBinary } from "@bufbuild/protobuf";

import { backoffMs, policyOf } from "./call-policy.js";
import type { CatalogClient } from "./catalog-client.js";
import { CatalogError } from "./errors.js";
import {
  type TaskOutcome_Outcome as Outcome,
  type TaskResult,
  TaskResultSchema,
} from "./gen/catalogsync/catalog/v1/analysis_service_pb.js";
import { required } from "./requests.js";
import { pause } from "./signals.js";

const MAX_BATCH = 50;
/** Of one result at most, and of a batch unless it has one result only. The service accepts 4 MiB. */
const MAX_BYTES = 1 << 20;
/** How long a result waits for others. */
const MAX_WAIT_MS = 20;

/** The reason of the failure that is submitted instead of a result that the service refuses. */
const RESULT_INVALID = "RESULT_INVALID";

/** A result that is not submitted yet. */
interface Pending {
  readonly result: TaskResult;
  readonly bytes: number;
  readonly resolve: (outcome: Outcome | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Returns the result of a task whose analysis brought none. */
export function failedResult(leaseId: string, reason: string, message: string, permanent = false): TaskResult {
  const value = { reason, message: [...message].slice(0, 1_000).join(""), permanent };
  return create(TaskResultSchema, { leaseId, outcome: { case: "failure", value } });
}

/**
 * Makes one call at a time, which has what came during the last one.
 *
 * It has no limit of its own: the worker leaves the place of a task occupied until its result is submitted.
 */
export class ResultSubmitter {
  readonly #client: CatalogClient;
  readonly #workerId: string;
  readonly #closing = new AbortController();
  #pending: Pending[] = [];
  #submitting: Promise<void> | undefined;
  /** Ends the wait for further results. */
  #submitNow: () => void = () => undefined;

  constructor(client: CatalogClient, workerId: string) {
    this.#client = client;
    this.#workerId = workerId;
  }

  /**
   * Submits a result.
   *
   * @returns what became of it; undefined: it was not submitted, since the service was unavailable at the end.
   *   Throws a CatalogError that is not transient.
   */
  async submit(result: TaskResult): Promise<Outcome | undefined> {
    const size = toBinary(TaskResultSchema, result).length;
    if (size > MAX_BYTES) return this.submit(failedResult(result.leaseId, RESULT_INVALID, `it has ${size} bytes`));
    return new Promise((resolve, reject) => {
      this.#pending.push({ result, bytes: size, resolve, reject });
      if (this.#pending.length >= MAX_BATCH) this.#submitNow();
      this.#submitting ??= this.#submitAll();
    });
  }

  /** Submits what waits, without another attempt when the service is unavailable. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#submitNow();
    await this.#submitting;
  }

  async #submitAll(): Promise<void> {
    while (this.#pending.length) {
      if (this.#pending.length < MAX_BATCH && !this.#closing.signal.aborted) await this.#waitForMore();
      const batch = this.#nextBatch();
      try {
        await this.#submitBatch(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    // In the same step as the condition of the loop: the next result begins another one.
    this.#submitting = undefined;
  }

  async #waitForMore(): Promise<void> {
    let timer;
    await new Promise<void>((resolve) => {
      this.#submitNow = resolve;
      timer = setTimeout(resolve, MAX_WAIT_MS);
    });
    clearTimeout(timer);
  }

  #nextBatch(): Pending[] {
    let bytes = 0;
    const fits = (pending: Pending, i: number): boolean => i < MAX_BATCH && (bytes += pending.bytes) <= MAX_BYTES;
    const end = this.#pending.findIndex((pending, i) => !fits(pending, i));
    return this.#pending.splice(0, end < 0 ? this.#pending.length : end);
  }

  async #submitBatch(batch: readonly Pending[]): Promise<void> {
    const request = { workerId: this.#workerId, results: batch.map(({ result }) => result) };
    for (let attempts = 1; ; attempts++) {
      try {
        const { outcomes } = await this.#client.rpc.submitResults(request);
        batch.forEach(({ resolve }, i) => resolve(required(outcomes[i]).outcome));
        return;
      } catch (thrown) {
        const error = CatalogError.from(thrown);
        if (error.reason === "INVALID_REQUEST") return this.#submitInvalid(batch, error);
        const delayMs = delayAfter(error, attempts);
        if (this.#closing.signal.aborted) return batch.forEach(({ resolve }) => resolve(undefined));
        await pause(delayMs, this.#closing.signal).catch(() => undefined);
      }
    }
  }

  /** One invalid result must not stop the others of its batch: it is submitted as a failure. */
  async #submitInvalid(batch: readonly Pending[], error: CatalogError): Promise<void> {
    const [first, ...others] = batch;
    if (others.length) {
      for (const pending of batch) await this.#submitBatch([pending]);
    } else if (first && !isInvalidResult(first.result)) {
      const message = error.fieldViolations.map(({ field, description }) => `${field}: ${description}`).join("; ");
      const result = failedResult(first.result.leaseId, RESULT_INVALID, message);
      await this.#submitBatch([{ ...first, result }]);
    } else {
      throw error;
    }
  }
}

function isInvalidResult({ outcome }: TaskResult): boolean {
  return outcome.case === "failure" && outcome.value.reason === RESULT_INVALID;
}

/** Returns the time until the next attempt; throws the error if there must be none. */
function delayAfter(error: CatalogError, attempts: number): number {
  const { retry } = policyOf("LeaseTasks");
  if (!retry || !(error.isTransient || error.code === "DEADLINE_EXCEEDED")) throw error;
  return backoffMs(retry, attempts, error.retryAfterMs);
}
