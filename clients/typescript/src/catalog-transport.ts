/** Makes each call with its deadline, retries, credentials and a request_id, on one of the replicas. */

import { randomUUID } from "node:crypto";
import {
  clone,
  create,
  type DescField,
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { ContextValues, StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";

import { backoffMs, policyOf, RETRY_THROTTLING, type RetryPolicy } from "./call-policy.js";
import type { Credentials } from "./credentials.js";
import { CatalogError } from "./errors.js";
import type { Connection, Replica } from "./replica.js";
import type { ReplicaSet } from "./replica-set.js";
import { pause } from "./signals.js";

/** A method with retries in the service config. StartSync and ResumeSync are repeated like it, with their request_id. */
const IDEMPOTENT_METHOD = "CancelSync";

interface CallOptions {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
  readonly header: HeadersInit | undefined;
}

interface Attempt {
  readonly connection: Connection;
  readonly header: Headers;
  /** The rest of the time of all attempts. */
  readonly timeoutMs: number | undefined;
}

/** The transport of the typed client. Every error is a CatalogError, except that of an aborted signal. */
export class CatalogTransport implements Transport {
  readonly #replicas: ReplicaSet;
  readonly #credentials: Credentials;
  readonly #budget = new RetryBudget();

  constructor(replicas: ReplicaSet, credentials: Credentials) {
    this.#replicas = replicas;
    this.#credentials = credentials;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const request = withRequestId(method.input, input);
    return this.#call(method, { signal, timeoutMs, header }, (attempt) =>
      attempt.connection.transport.unary(method, signal, attempt.timeoutMs, attempt.header, request, contextValues),
    );
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>> {
    const requests: MessageInitShape<I>[] = [];
    for await (const request of input) requests.push(request);
    return this.#call(method, { signal, timeoutMs, header }, async (attempt) => {
      const { transport } = attempt.connection;
      const sent = iterate(requests);
      const response = await transport.stream(method, signal, attempt.timeoutMs, attempt.header, sent, contextValues);
      // The call is repeated only as long as nothing of it was delivered.
      const messages = response.message[Symbol.asyncIterator]();
      return { ...response, message: withCatalogErrors(await messages.next(), messages, signal) };
    });
  }

  async #call<T>(
    method: DescMethodUnary | DescMethodStreaming,
    { signal, timeoutMs, header }: CallOptions,
    attempt: (attempt: Attempt) => Promise<T>,
  ): Promise<T> {
    const policy = policyOf(method.name);
    const retry = policy.retry ?? (requestIdOf(method.input) ? policyOf(IDEMPOTENT_METHOD).retry : undefined);
    const limitMs = timeoutMs ?? policy.timeoutMs;
    const deadline = limitMs === undefined ? undefined : Date.now() + limitMs;
    let hasRefreshed = false;
    for (let attempts = 1; ; attempts++) {
      const credentials = await this.#credentials.headers();
      // A whole number: gRPC's other implementations refuse a fraction.
      const rest = deadline === undefined ? undefined : Math.max(Math.ceil(deadline - Date.now()), 1);
      const outcome = await this.#attempt(attempt, withCredentials(header, credentials), rest);
      if ("result" in outcome) return outcome.result;
      signal?.throwIfAborted();
      const { error, replica } = outcome;
      // A caller who is in a hurry says nothing about the replica.
      if (replica && !(timeoutMs !== undefined && error.code === "DEADLINE_EXCEEDED")) this.#replicas.judge(replica, error);
      if (error.reason === "TOKEN_EXPIRED" && !hasRefreshed && (await this.#credentials.refresh(credentials))) {
        hasRefreshed = true;
        attempts--;
        continue;
      }
      const delay = this.#delayAfter(error, attempts, retry);
      if (delay === undefined || (deadline !== undefined && Date.now() + delay >= deadline)) throw error;
      await pause(delay, signal);
    }
  }

  async #attempt<T>(
    attempt: (attempt: Attempt) => Promise<T>,
    header: Headers,
    timeoutMs: number | undefined,
  ): Promise<{ result: T } | { error: CatalogError; replica: Replica | undefined }> {
    let replica: Replica | undefined;
    try {
      replica = await this.#replicas.pick();
      const result = await attempt({ connection: replica.connection, header, timeoutMs });
      replica.answered();
      this.#budget.succeeded();
      return { result };
    } catch (thrown) {
      return { error: CatalogError.from(thrown), replica };
    }
  }

  /** Returns the time until the next attempt; undefined: there is none. */
  #delayAfter(error: CatalogError, attempts: number, retry: RetryPolicy | undefined): number | undefined {
    if (!retry?.codes.has(error.code)) return undefined;
    if (!this.#budget.failed() || attempts >= retry.maxAttempts) return undefined;
    return backoffMs(retry, attempts, error.retryAfterMs);
  }
}

/** Stops retries while most calls fail: they would only add to the load. */
class RetryBudget {
  #tokens: number = RETRY_THROTTLING.maxTokens;

  succeeded(): void {
    this.#tokens = Math.min(this.#tokens + RETRY_THROTTLING.tokenRatio, RETRY_THROTTLING.maxTokens);
  }

  /** Notes a failed attempt, and returns whether another one may be made. */
  failed(): boolean {
    this.#tokens = Math.max(this.#tokens - 1, 0);
    return this.#tokens > RETRY_THROTTLING.maxTokens / 2;
  }
}

function requestIdOf(schema: DescMessage): DescField | undefined {
  return schema.fields.find(({ name }) => name === "request_id");
}

/** Returns the request with a request_id if it can have one and has none: only then a repeated call is harmless. */
function withRequestId<I extends DescMessage>(schema: I, input: MessageInitShape<I>): MessageInitShape<I> {
  const field = requestIdOf(schema);
  if (!field) return input;
  const request = clone(schema, create(schema, input));
  const fields = reflect(schema, request);
  if (!fields.get(field)) fields.set(field, randomUUID());
  return request as MessageInitShape<I>;
}

function withCredentials(header: HeadersInit | undefined, credentials: Record<string, string>): Headers {
  const headers = new Headers(header);
  for (const [name, value] of Object.entries(credentials)) headers.set(name, value);
  return headers;
}

async function* iterate<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values;
}

async function* withCatalogErrors<T>(
  first: IteratorResult<T>,
  rest: AsyncIterator<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  try {
    for (let next = first; !next.done; next = await rest.next()) yield next.value;
  } catch (thrown) {
    signal?.throwIfAborted();
    throw CatalogError.from(thrown);
  }
}
