/** The replicas behind an address: calls alternate between those that answer. */

import { formatTarget, parseAddress, resolve, type Target } from "./address.js";
import type { CatalogError } from "./errors.js";
import { Replica, type TlsFiles } from "./replica.js";

/** Chooses the replica of each call. */
export class ReplicaSet {
  readonly #targets: readonly Target[];
  readonly #tls: TlsFiles | undefined;
  #replicas: Replica[] = [];
  /** Replicas that the name no longer has, while calls of theirs are open. */
  #former: Replica[] = [];
  #resolving: Promise<void> | undefined;
  #isStale = true;
  #isClosed = false;
  /** Random, so that the clients of many processes do not all begin with the same replica. */
  #next = Math.floor(Math.random() * 1_000);

  constructor(address: string, tls: TlsFiles | undefined) {
    this.#targets = parseAddress(address);
    this.#tls = tls;
  }

  /** Returns the next replica that has not failed lately, or else the one whose failure is forgotten first. */
  async pick(): Promise<Replica> {
    if (this.#isClosed) throw new Error("the client is closed");
    if (this.#isStale) await this.#resolve();
    const now = Date.now();
    const usable = this.#replicas.filter(({ avoidedUntil }) => avoidedUntil <= now);
    const chosen = usable[this.#next++ % usable.length];
    return chosen ?? this.#replicas.reduce((one, other) => (one.avoidedUntil <= other.avoidedUntil ? one : other));
  }

  /** Lets calls go to other replicas for a while, and looks names up again: there may be new ones. */
  avoid(replica: Replica): void {
    replica.avoid();
    this.#isStale = true;
  }

  /** Notes the error of a call: whether the replica, not the request, is the reason for it. */
  judge(replica: Replica, { reason, code }: CatalogError): void {
    const isSilent = !reason && (code === "UNAVAILABLE" || code === "CANCELLED" || code === "DEADLINE_EXCEEDED");
    if (isSilent || reason === "SERVER_DRAINING") this.avoid(replica);
    else replica.answered();
  }

  close(): void {
    this.#isClosed = true;
    for (const replica of [...this.#replicas, ...this.#former]) replica.close();
  }

  async #resolve(): Promise<void> {
    this.#resolving ??= this.#lookUp().finally(() => (this.#resolving = undefined));
    await this.#resolving;
  }

  async #lookUp(): Promise<void> {
    let targets;
    try {
      targets = await resolve(this.#targets);
    } catch (error) {
      if (this.#replicas.length) return;
      throw error;
    }
    const known = new Map(this.#replicas.map((replica) => [replica.address, replica]));
    const named = new Map(targets.map((target) => [formatTarget(target.ip, target.port), target]));
    const found = [...named].map(([address, target]) => known.get(address) ?? new Replica(target, this.#tls));
    const former = [...this.#former, ...this.#replicas].filter((replica) => !found.includes(replica));
    this.#former = former.filter(({ isInUse }) => isInUse);
    this.#replicas = found;
    this.#isStale = false;
  }
}
