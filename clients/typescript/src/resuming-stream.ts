/** A server stream that is opened again whenever it breaks, stalls, expires or its replica drains. */

import type { CallOptions } from "@connectrpc/connect";

import { backoffMs, policyOf } from "./call-policy.js";
import type { Credentials } from "./credentials.js";
import { CatalogError } from "./errors.js";
import { WatchSyncResponse_ReconnectReason as ReconnectReason } from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import type { Replica } from "./replica.js";
import type { ReplicaSet } from "./replica-set.js";
import { CallSignal, pause } from "./signals.js";
import type { CatalogCalls } from "./typed-calls.js";

/** Two heartbeats: the service sends a message at least every 30 s. */
const STALL_MS = 60_000;
const GIVE_UP_MS = 300_000;

/** What happened to the connection of a watch. */
export type ConnectionEvent =
  | { readonly state: "connected"; readonly address: string }
  | {
      readonly state: "disconnected";
      /** Of the replica; undefined if none was chosen. */
      readonly address: string | undefined;
      readonly error: CatalogError;
      /** Time until the next attempt, in milliseconds. */
      readonly retryInMs: number;
    };

/** Options of every watch. */
export interface WatchOptions {
  /** Ends the watch, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called when a stream delivers its first message, and when it broke. Not called between, when it ended as announced. */
  readonly onConnection?: ((event: ConnectionEvent) => void) | undefined;
  /** Time without a message after which a stream counts as dead; default 60 s. */
  readonly stallMs?: number | undefined;
  /** Time without a message over all attempts after which the last error is thrown; default 5 minutes. */
  readonly giveUpMs?: number | undefined;
}

/** A message of a stream that announces its end. */
export interface StreamMessage {
  readonly reconnectReason: ReconnectReason;
}

/** How a stream is opened. */
export interface StreamSource<M extends StreamMessage> {
  /** The method's name in the contract, whose backoff is used. */
  readonly method: string;
  /** Makes a call that continues after the last message. */
  readonly open: (calls: CatalogCalls, options: CallOptions) => AsyncIterable<M>;
  /** Returns whether `open` begins from the start after this error, and must be called at once. */
  readonly startsOver?: (error: CatalogError) => boolean;
}

/** Messages of one call after the other, each of which continues after the last message. */
export class ResumingStream<M extends StreamMessage> {
  readonly #replicas: ReplicaSet;
  readonly #credentials: Credentials;
  readonly #source: StreamSource<M>;
  readonly #options: WatchOptions;
  #attempts = 0;
  /** When the last message came, or the consumer came back for the next one. */
  #silentSince = Date.now();
  #hasRefreshed = false;
  #replica: Replica | undefined;
  #headers: Record<string, string> = {};

  constructor(replicas: ReplicaSet, credentials: Credentials, source: StreamSource<M>, options: WatchOptions) {
    this.#replicas = replicas;
    this.#credentials = credentials;
    this.#source = source;
    this.#options = options;
  }

  /**
   * Yields messages without end. Every call is cancelled when the consumer leaves its loop.
   *
   * Throws a CatalogError that is not transient, or the last one if no message arrived for `giveUpMs`.
   */
  async *messages(): AsyncGenerator<M, void> {
    for (;;) {
      let error: CatalogError;
      let announced = ReconnectReason.UNSPECIFIED;
      try {
        for await (const message of this.#ofOneCall()) {
          announced = message.reconnectReason;
          yield message;
          this.#silentSince = Date.now();
        }
        error = new CatalogError("the stream ended too early", { code: "UNAVAILABLE" });
      } catch (thrown) {
        this.#options.signal?.throwIfAborted();
        error = CatalogError.from(thrown);
      }
      if (announced !== ReconnectReason.UNSPECIFIED) {
        if (announced === ReconnectReason.SERVER_DRAINING && this.#replica) this.#replicas.avoid(this.#replica);
        continue;
      }
      const retryInMs = await this.#delayAfter(error);
      const address = this.#replica?.address;
      this.#options.onConnection?.({ state: "disconnected", address, error, retryInMs });
      await pause(retryInMs, this.#options.signal);
    }
  }

  async *#ofOneCall(): AsyncGenerator<M, void> {
    const { signal, onConnection, stallMs = STALL_MS } = this.#options;
    signal?.throwIfAborted();
    this.#replica = undefined;
    this.#headers = await this.#credentials.headers();
    const replica = (this.#replica = await this.#replicas.pick());
    const { connection } = replica;
    const callSignal = new CallSignal(signal);
    let stalled = false;
    connection.watches += 1;
    try {
      const call = { signal: callSignal.signal, headers: this.#headers };
      const messages = this.#source.open(connection.calls, call)[Symbol.asyncIterator]();
      for (let isFirst = true; ; isFirst = false) {
        const timer = setTimeout(() => {
          stalled = true;
          replica.discard(connection);
          callSignal.end();
        }, stallMs);
        const next = await messages.next().finally(() => clearTimeout(timer));
        if (next.done) return;
        this.#received(replica);
        if (isFirst) onConnection?.({ state: "connected", address: replica.address });
        yield next.value;
      }
    } catch (thrown) {
      if (stalled) throw new CatalogError(`no message for ${stallMs / 1000} s`, { code: "UNAVAILABLE", cause: thrown });
      throw thrown;
    } finally {
      connection.watches -= 1;
      callSignal.end();
    }
  }

  #received(replica: Replica): void {
    replica.answered();
    this.#attempts = 0;
    this.#hasRefreshed = false;
    this.#silentSince = Date.now();
  }

  /** Returns the time until the next attempt; throws the error if there must be none. */
  async #delayAfter(error: CatalogError): Promise<number> {
    if (this.#replica) this.#replicas.judge(this.#replica, error);
    if (this.#source.startsOver?.(error)) return 0;
    if (error.reason === "TOKEN_EXPIRED" && !this.#hasRefreshed) {
      this.#hasRefreshed = true;
      if (await this.#hasFreshToken()) return 0;
    }
    const silence = Date.now() - this.#silentSince;
    const { retry } = policyOf(this.#source.method);
    if (!retry || !error.isTransient || silence > (this.#options.giveUpMs ?? GIVE_UP_MS)) throw error;
    this.#attempts += 1;
    return backoffMs(retry, this.#attempts, error.retryAfterMs);
  }

  async #hasFreshToken(): Promise<boolean> {
    try {
      return await this.#credentials.refresh(this.#headers);
    } catch {
      // The next call asks the provider again, and is repeated with backoff if it fails once more.
      return true;
    }
  }
}
