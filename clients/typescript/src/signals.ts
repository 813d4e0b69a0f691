/** Waits and calls that end with an aborted signal. */

import { setTimeout as sleep } from "node:timers/promises";

/** Waits, or throws the reason of the signal as soon as it is aborted. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  try {
    await sleep(ms, undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** The signal of one call, which is also aborted by the caller's signal. */
export class CallSignal {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #forward = (): void => this.#controller.abort(this.#outer?.reason);

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    if (outer?.aborted) this.#forward();
    outer?.addEventListener("abort", this.#forward, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Cancels the call, unless it has ended, and forgets the caller's signal, which may live for long. */
  end(): void {
    this.#outer?.removeEventListener("abort", this.#forward);
    this.#controller.abort();
  }
}
