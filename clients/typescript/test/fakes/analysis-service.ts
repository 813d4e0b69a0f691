/** An AnalysisService in this process, at a real HTTP/2 port: it keeps tasks and leases as the service does. */

import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import {
  AnalysisService,
  type AnalysisTask,
  AnalysisTaskSchema,
  type ExtendLeasesRequest,
  type LeaseTasksRequest,
  type SubmitResultsRequest,
  TaskOutcome_Outcome as Outcome,
  type TaskResult,
  WatchSyncResponse_ReconnectReason as ReconnectReason,
} from "../../src/index.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";

type Method = "leaseTasks" | "extendLeases" | "submitResults";

interface Requests {
  readonly leaseTasks: LeaseTasksRequest[];
  readonly extendLeases: ExtendLeasesRequest[];
  readonly submitResults: SubmitResultsRequest[];
}

/** Ends waits that hang. A wait that works needs a small part of it, on an overloaded machine too. */
const TIMEOUT_MS = 60_000;

/** Returns once the condition is true. */
export async function until(condition: () => boolean): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > TIMEOUT_MS) throw new Error(`still false after ${TIMEOUT_MS / 1_000} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Returns an error as the service sends it. */
export function failure(reason: string, code: Code, { retry = false, field = "" } = {}): ConnectError {
  return new ConnectError(`${reason}: refused`, code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "catalogsync" } },
    ...(retry ? [{ desc: RetryInfoSchema, value: { retryDelay: { nanos: 1_000_000 } } }] : []),
    ...(field ? [{ desc: BadRequestSchema, value: { fieldViolations: [{ field, description: "is not a decimal" }] } }] : []),
  ]);
}

/** Leases expire when the test says so. */
export class FakeAnalysis {
  /** Image ids that wait for a worker. */
  readonly waiting: string[] = [];
  /** Image ids whose task is dead; one call of RequeueTasks queues one of them. */
  readonly dead: string[] = [];
  /** Image ids by the id of their lease. */
  readonly leased = new Map<string, string>();
  /** The accepted results by image id. */
  readonly results = new Map<string, TaskResult[]>();
  readonly requests: Requests = { leaseTasks: [], extendLeases: [], submitResults: [] };
  /** What the next calls of a method fail with. */
  readonly errors: Record<Method, ConnectError[]> = { leaseTasks: [], extendLeases: [], submitResults: [] };
  /** How many leases there were at the same time. */
  maxLeased = 0;
  /** Whether streams send nothing, and do not end. */
  isSilent = false;
  #port = 0;
  #leaseCount = 0;
  #isEnding = false;
  #server: http2.Http2Server | undefined;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  #wakeUps: (() => void)[] = [];

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Listens, at the same port after `kill`. */
  async start(): Promise<void> {
    const handler = connectNodeAdapter({
      routes: (router) =>
        router.service(AnalysisService, {
          leaseTasks: (request, context) => this.#leaseTasks(request, context),
          extendLeases: (request) => this.#extendLeases(request),
          submitResults: (request) => this.#submitResults(request),
          listAnalyses: ({ pageToken }) => this.#listAnalyses(pageToken),
          requeueTasks: () => this.#requeueOne(),
        }),
    });
    const server = (this.#server = http2.createServer(handler));
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.once("close", () => this.#sessions.delete(session));
    });
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Breaks every connection. Tasks, leases and results stay, as in a database. */
  async kill(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    for (const session of this.#sessions) session.destroy();
    await closed;
  }

  add(...imageIds: string[]): void {
    this.waiting.push(...imageIds);
    this.#wake();
  }

  /** Ends the open stream as announced. */
  endStream(): void {
    this.#isEnding = true;
    this.#wake();
  }

  /** Lets all leases expire: their tasks wait for a worker again. */
  expireAll(): void {
    this.waiting.push(...this.leased.values());
    this.leased.clear();
    this.#wake();
  }

  /** Returns the accepted failures of an image. */
  failuresOf(imageId: string): { reason: string; message: string; permanent: boolean }[] {
    return (this.results.get(imageId) ?? []).flatMap(({ outcome }) => {
      if (outcome.case !== "failure") return [];
      const { reason, message, permanent } = outcome.value;
      return [{ reason, message, permanent }];
    });
  }

  async *#leaseTasks(request: LeaseTasksRequest, { signal }: HandlerContext): AsyncGenerator<{
    tasks?: AnalysisTask[];
    reconnectReason?: ReconnectReason;
  }> {
    this.requests.leaseTasks.push(request);
    this.#failIfWanted("leaseTasks");
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      const credit = request.maxInFlight - this.leased.size;
      if (!this.isSilent && credit > 0 && this.waiting.length) {
        yield { tasks: this.waiting.splice(0, credit).map((imageId) => this.#lease(imageId)) };
      } else if (this.#isEnding) {
        this.#isEnding = false;
        yield { reconnectReason: ReconnectReason.STREAM_EXPIRED };
        return;
      } else {
        await new Promise<void>((resolve) => this.#wakeUps.push(resolve));
      }
    }
  }

  #lease(imageId: string): AnalysisTask {
    const leaseId = `lease-${++this.#leaseCount}`;
    this.leased.set(leaseId, imageId);
    this.maxLeased = Math.max(this.maxLeased, this.leased.size);
    return create(AnalysisTaskSchema, { leaseId, imageId, imageUrl: `https://images.example/${imageId}` });
  }

  #extendLeases(request: ExtendLeasesRequest): { extendedLeaseIds: string[]; lostLeaseIds: string[] } {
    this.requests.extendLeases.push(request);
    this.#failIfWanted("extendLeases");
    const extendedLeaseIds = request.leaseIds.filter((id) => this.leased.has(id));
    if (request.leaseDuration?.seconds === 0n && request.leaseDuration.nanos === 0) {
      for (const id of extendedLeaseIds) this.waiting.push(this.#end(id));
    }
    return { extendedLeaseIds, lostLeaseIds: request.leaseIds.filter((id) => !extendedLeaseIds.includes(id)) };
  }

  #submitResults(request: SubmitResultsRequest): { outcomes: { leaseId: string; outcome: Outcome }[] } {
    this.requests.submitResults.push(request);
    this.#failIfWanted("submitResults");
    const isInvalid = ({ outcome }: TaskResult): boolean =>
      outcome.case === "analysis"
        ? !/^(0(\.\d+)?|1)$/.test(outcome.value.qualityScore)
        : !outcome.value || outcome.value.message.includes("\0");
    const invalid = request.results.findIndex(isInvalid);
    if (invalid >= 0) {
      const field = `results[${invalid}].analysis.quality_score`;
      throw failure("INVALID_REQUEST", Code.InvalidArgument, { field });
    }
    const outcomes = request.results.map((result) => ({ leaseId: result.leaseId, outcome: this.#store(result) }));
    this.#wake();
    return { outcomes };
  }

  #store(result: TaskResult): Outcome {
    if (!this.leased.has(result.leaseId)) return Outcome.STALE;
    const imageId = this.#end(result.leaseId);
    this.results.set(imageId, [...(this.results.get(imageId) ?? []), result]);
    if (result.outcome.case === "analysis") return Outcome.STORED;
    return result.outcome.value?.permanent ? Outcome.DEAD : Outcome.RETRY;
  }

  #end(leaseId: string): string {
    const imageId = this.leased.get(leaseId) ?? "";
    this.leased.delete(leaseId);
    return imageId;
  }

  #listAnalyses(pageToken: string): { analyses: { imageId: string }[]; nextPageToken: string } {
    const imageIds = [...this.results.keys()];
    const next = Number(pageToken) + 1;
    return {
      analyses: imageIds.slice(next - 1, next).map((imageId) => ({ imageId })),
      nextPageToken: next < imageIds.length ? String(next) : "",
    };
  }

  #requeueOne(): { requeuedCount: bigint; remaining: boolean } {
    const requeued = this.dead.splice(0, 1);
    this.add(...requeued);
    return { requeuedCount: BigInt(requeued.length), remaining: this.dead.length > 0 };
  }

  #failIfWanted(method: Method): void {
    const error = this.errors[method].shift();
    if (error) throw error;
  }

  #wake(): void {
    const wakeUps = this.#wakeUps;
    this.#wakeUps = [];
    for (const wakeUp of wakeUps) wakeUp();
  }
}
