/** A worker that analyzes images: leases tasks, runs the analyses, and submits their results. */

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import type { CatalogClient } from "./catalog-client.js";
import {
  AnalysisResultSchema,
  type AnalysisTask,
  TaskOutcome_Outcome as Outcome,
  type TaskResult,
  TaskResultSchema,
} from "./gen/catalogsync/catalog/v1/analysis_service_pb.js";
import { HeldLeases, type Lease } from "./held-leases.js";
import { failedResult, ResultSubmitter } from "./result-submitter.js";
import type { WatchOptions } from "./resuming-stream.js";
import { CallSignal } from "./signals.js";

const TIME_LIMIT_MS = 600_000;

/** What `analyze` returns: an AnalysisResult, or an object with fields of it. Scores are decimals such as "0.75". */
export type Analysis = MessageInitShape<typeof AnalysisResultSchema> & {
  readonly qualityScore: string;
  readonly confidenceScore: string;
};

/** What became of a task. */
export interface TaskEnd {
  readonly task: AnalysisTask;
  /** STALE also if the lease was lost before the analysis had ended. */
  readonly outcome: Outcome;
  /** What `analyze` has thrown; undefined if it returned. */
  readonly error: unknown;
}

export interface AnalysisWorkerOptions extends WatchOptions {
  /** With the secret of a service or the token of an operator. It stays open. */
  readonly client: CatalogClient;
  /** The name of the analyzer, as in `UpdateShop.analyzers`. */
  readonly analyzer: string;
  /**
   * Analyzes the image of one task. The signal is aborted when the result is not wanted any more: the lease was lost,
   * the time limit has passed, or the worker stops. Throw TaskFailedError if there is no result.
   */
  readonly analyze: (task: AnalysisTask, signal: AbortSignal) => Promise<Analysis>;
  /** Unique among all workers; default: a new name for each call. */
  readonly workerId?: string | undefined;
  /** The version of the model, also for results that have none. */
  readonly modelVersion?: string | undefined;
  /** How many analyses run at the same time, 1 to 100; default 10. */
  readonly maxInFlight?: number | undefined;
  /** How long another worker waits for a task of this one if this one dies: 10 s to 10 min, default 60 s. */
  readonly leaseDurationMs?: number | undefined;
  /** Of one analysis; default 10 min. If it then ends with an error, its task fails with the reason TIMED_OUT. */
  readonly timeLimitMs?: number | undefined;
  /** Called when the service has said what became of a task, or that its lease is lost. */
  readonly onTaskEnd?: ((end: TaskEnd) => void) | undefined;
}

/** Thrown by `analyze`: the image cannot be analyzed. */
export class TaskFailedError extends Error {
  override readonly name = "TaskFailedError";
  /** In words of the analyzer. */
  readonly reason: string;
  /** Whether another attempt cannot help. */
  readonly permanent: boolean;

  /**
   * @param reason - such as "IMAGE_NOT_FOUND": at most 63 of A-Z, 0-9 and "_", the first one a letter.
   * @param message - for people; the first 1,000 characters are stored.
   * @param permanent - true: the task is dead at once, instead of after 5 attempts.
   */
  constructor(reason: string, message = "", permanent = false) {
    super(message);
    if (!/^[A-Z][A-Z0-9_]{0,62}$/.test(reason)) throw new TypeError(`reason: expected a name such as "IMAGE_NOT_FOUND"`);
    this.reason = reason;
    this.permanent = permanent;
  }
}

/**
 * Analyzes images until `signal` is aborted. Goes on by itself over broken connections and outages of the service.
 *
 * An error that is not a TaskFailedError is submitted as INTERNAL with the name of its class only; the task is tried again,
 * also by other workers, up to 5 times. When the worker stops, unfinished tasks are given back to other workers.
 *
 * @returns when the signal was aborted and every analysis has ended. Throws a CatalogError that is not transient, such
 *   as PERMISSION_DENIED, and what a callback has thrown.
 */
export async function runAnalysisWorker(options: AnalysisWorkerOptions): Promise<void> {
  const { maxInFlight = 10 } = options;
  if (!(Number.isInteger(maxInFlight) && maxInFlight >= 1 && maxInFlight <= 100)) {
    throw new RangeError(`maxInFlight: expected 1 to 100, not ${maxInFlight}`);
  }
  const workerId = options.workerId ?? `${hostname()}-${randomUUID()}`;
  await new AnalysisWorker({ ...options, maxInFlight, workerId }).run();
}

class AnalysisWorker {
  readonly #options: AnalysisWorkerOptions & { readonly workerId: string; readonly maxInFlight: number };
  readonly #leaseDurationMs: number;
  readonly #leases: HeldLeases;
  readonly #submitter: ResultSubmitter;
  /** The tasks whose analysis runs or whose result is being submitted: the occupied slots. */
  readonly #tasks = new Set<Promise<void>>();
  /** Aborted by the caller, or by the first error. */
  readonly #stop: CallSignal;
  readonly #stopped: Promise<void>;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: AnalysisWorkerOptions & { readonly workerId: string; readonly maxInFlight: number }) {
    const { client, workerId, leaseDurationMs = 60_000, signal } = options;
    this.#options = options;
    this.#leaseDurationMs = leaseDurationMs;
    this.#leases = new HeldLeases(client, workerId, leaseDurationMs);
    this.#submitter = new ResultSubmitter(client, workerId);
    this.#stop = new CallSignal(signal);
    this.#stopped = new Promise((resolve) => {
      this.#stop.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async run(): Promise<void> {
    const { signal } = this.#stop;
    await Promise.all([this.#untilStopped(this.#read()), this.#untilStopped(this.#leases.extend(signal))]);
    await Promise.all([this.#leases.giveBack(signal.reason), this.#submitter.close(), ...this.#tasks]);
    this.#stop.end();
    if (this.#failure) throw this.#failure.error;
  }

  async #untilStopped(loop: Promise<void>): Promise<void> {
    try {
      await loop;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Stops the worker, which then throws the error. What is thrown because the worker stops is not an error. */
  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#failure = { error };
    this.#stop.end();
  }

  async #read(): Promise<void> {
    const { client, analyzer, workerId, modelVersion = "", maxInFlight, onConnection, stallMs, giveUpMs } = this.#options;
    const { signal } = this.#stop;
    const request = { workerId, analyzer, modelVersion, maxInFlight, leaseDuration: durationFromMs(this.#leaseDurationMs) };
    const options = { signal, onConnection, stallMs, giveUpMs: giveUpMs ?? Infinity };
    for await (const { tasks } of client.leaseTasks(request, options)) {
      const leased = tasks
        .filter(({ leaseId }) => !this.#leases.has(leaseId))
        .map((task) => ({ task, lease: this.#leases.add(task.leaseId) }));
      for (const { task, lease } of leased) {
        await this.#freePlace();
        if (signal.aborted) return;
        this.#start(task, lease);
      }
    }
  }

  /** The service leaves slots for unexpired leases. Those that have expired may occupy more slots here. */
  async #freePlace(): Promise<void> {
    while (this.#tasks.size >= this.#options.maxInFlight && !this.#stop.signal.aborted) {
      await Promise.race([this.#stopped, ...this.#tasks]);
    }
  }

  #start(task: AnalysisTask, lease: Lease): void {
    const running = this.#perform(task, lease)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#leases.remove(lease);
        this.#tasks.delete(running);
      });
    this.#tasks.add(running);
  }

  async #perform(task: AnalysisTask, lease: Lease): Promise<void> {
    const analyzed = lease.signal.aborted ? undefined : await this.#analyze(task, lease.signal);
    lease.isAnalyzed = true;
    let outcome: Outcome | undefined = Outcome.STALE;
    if (analyzed && !lease.signal.aborted) outcome = await this.#submitter.submit(analyzed.result);
    else if (this.#stop.signal.aborted) return;
    if (outcome !== undefined) this.#options.onTaskEnd?.({ task, outcome, error: analyzed?.error });
  }

  /** Returns the result to submit. Never throws. */
  async #analyze(task: AnalysisTask, signal: AbortSignal): Promise<{ result: TaskResult; error: unknown }> {
    const { leaseId } = task;
    const { analyze, modelVersion = "", timeLimitMs = TIME_LIMIT_MS } = this.#options;
    const call = new CallSignal(signal);
    let isTimedOut = false;
    const timer = setTimeout(() => {
      isTimedOut = true;
      call.end();
    }, timeLimitMs);
    const start = performance.now();
    try {
      // clone() throws if a field has a wrong type, which would otherwise be an error of the call with all results.
      const value = clone(AnalysisResultSchema, create(AnalysisResultSchema, await analyze(task, call.signal)));
      value.modelVersion ||= modelVersion;
      value.processingTime ??= durationFromMs(Math.round(performance.now() - start));
      const result = create(TaskResultSchema, { leaseId, outcome: { case: "analysis", value } });
      return { result, error: undefined };
    } catch (error) {
      if (error instanceof TaskFailedError) {
        return { result: failedResult(leaseId, error.reason, error.message, error.permanent), error };
      }
      if (isTimedOut) return { result: failedResult(leaseId, "TIMED_OUT", `no result after ${timeLimitMs} ms`), error };
      // Its message may have secrets, such as the address that was called.
      const name = error instanceof Error ? error.constructor.name : typeof error;
      return { result: failedResult(leaseId, "INTERNAL", name), error };
    } finally {
      clearTimeout(timer);
    }
  }
}
