/** The client of CatalogService: typed calls, pages as iterators, and watches that resume. */

import type { Client } from "@connectrpc/connect";

import { isLoopback, parseAddress } from "./address.js";
import { CatalogTransport } from "./catalog-transport.js";
import { type CredentialOptions, Credentials } from "./credentials.js";
import { CatalogError } from "./errors.js";
import {
  type CatalogService,
  type Item,
  type Product,
  type ShopDetails,
  type Sync,
  Sync_State,
  type SyncIssue,
  type WatchChangesResponse,
  type WatchItemsResponse,
  type WatchSyncsResponse,
} from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import type {
  CallOptions,
  CatalogClientOptions,
  FollowOptions,
  ItemFilter,
  PageOptions,
  ProductFilter,
  ShopFilter,
  ShopName,
  StartOptions,
  SyncAndWaitOptions,
  SyncFilter,
  WatchSyncOptions,
} from "./options.js";
import { TlsFiles } from "./replica.js";
import { ReplicaSet } from "./replica-set.js";
import { ResumingStream, type StreamMessage, type StreamSource, type WatchOptions } from "./resuming-stream.js";
import { createTypedCalls } from "./typed-calls.js";

/** Returns whether a sync has ended: SUCCEEDED, FAILED or CANCELLED. */
export function hasEnded({ state }: Sync): boolean {
  return state === Sync_State.SUCCEEDED || state === Sync_State.FAILED || state === Sync_State.CANCELLED;
}

/** Returns a client, which connects with its first call. Close it at the end. */
export function createCatalogClient(options: CatalogClientOptions): CatalogClient {
  return new CatalogClient(options);
}

/** Returns the ShopRef of a shop, for the requests of `client.rpc`. */
export function shopRef(shop: ShopName): Exclude<ShopName, string> {
  if (typeof shop !== "string") return shop;
  const [platform, domain, more] = shop.split(":");
  if (!platform || !domain || more !== undefined) throw new TypeError(`shop: expected "platform:domain", not "${shop}"`);
  return { platform, domain };
}

/** Every method throws CatalogError, or the reason of the caller's signal. */
export class CatalogClient {
  /** Every method of CatalogService, with the same deadlines, retries, credentials and errors. Streams end as they do. */
  readonly rpc: Client<typeof CatalogService>;
  readonly #options: CatalogClientOptions;
  readonly #replicas: ReplicaSet;
  readonly #ownsConnections: boolean;
  readonly #credentials: Credentials;

  /** Use `createCatalogClient` or `authenticatedBy`. */
  constructor(options: CatalogClientOptions, shared?: ReplicaSet) {
    const { address, tls } = options;
    this.#options = options;
    this.#credentials = new Credentials(options);
    const isLocal = parseAddress(address).every(isLoopback);
    if (!tls && !this.#credentials.isEmpty && !isLocal && !options.allowPlaintextCredentials) {
      throw new TypeError("credentials are sent over TLS only: set tls, or allowPlaintextCredentials");
    }
    this.#ownsConnections = !shared;
    this.#replicas = shared ?? new ReplicaSet(address, tls ? new TlsFiles(tls === true ? {} : tls) : undefined);
    this.rpc = createTypedCalls(new CatalogTransport(this.#replicas, this.#credentials));
  }

  /** Returns a client for another caller, such as the merchant who is logged in, on the connections of this one. */
  authenticatedBy(credentials: CredentialOptions): CatalogClient {
    const { token, serviceSecret } = credentials;
    return new CatalogClient({ ...this.#options, token, serviceSecret }, this.#replicas);
  }

  /** Starts a sync; the call is repeated with the same request_id while the service is unavailable. */
  async startSync(shop: ShopName, options: StartOptions = {}): Promise<Sync> {
    const { mode, allowMassDelete, requestId, signal } = options;
    const request = { shop: shopRef(shop), ...defined({ mode, allowMassDelete, requestId }) };
    return required((await this.rpc.startSync(request, defined({ signal }))).sync);
  }

  /** Starts a sync that continues a FAILED or CANCELLED one from its checkpoint. */
  async resumeSync(syncId: string, options: CallOptions & { readonly requestId?: string } = {}): Promise<Sync> {
    const { requestId, signal } = options;
    return required((await this.rpc.resumeSync({ syncId, ...defined({ requestId }) }, defined({ signal }))).sync);
  }

  /** Cancels a sync, and returns it. */
  async cancelSync(syncId: string, { signal }: CallOptions = {}): Promise<Sync> {
    return required((await this.rpc.cancelSync({ syncId }, defined({ signal }))).sync);
  }

  /** Returns the current snapshot of a sync. */
  async getSync(syncId: string, { signal }: CallOptions = {}): Promise<Sync> {
    return required((await this.rpc.getSync({ syncId }, defined({ signal }))).sync);
  }

  /**
   * Yields a sync's snapshots until it ends; the terminal one comes last and is never missed.
   *
   * The revision grows from one snapshot to the next, except while the sync is PENDING (the place in the queue changes
   * without a new revision) and after the catalog was restored from a backup. Resumes by itself after broken
   * connections, drains, expired tokens and silent replicas.
   */
  async *watchSync(syncId: string, options: WatchSyncOptions = {}): AsyncGenerator<Sync, void> {
    let revision = options.afterRevision ?? 0n;
    let queuePosition: number | undefined;
    const messages = this.#resume(options, {
      method: "WatchSync",
      open: (client, call) => client.watchSync({ syncId, afterRevision: revision }, call),
      startsOver: (error) => {
        if (error.reason !== "REVISION_IN_FUTURE" || revision === 0n) return false;
        // The catalog was restored from a backup: the revisions that were seen do not exist any more.
        revision = 0n;
        return true;
      },
    });
    for await (const message of messages) {
      const sync = required(message.sync);
      const position = sync.queuePosition;
      const moved = sync.revision === revision && position !== undefined && position !== queuePosition;
      if (sync.revision > revision || moved || hasEnded(sync)) {
        revision = sync.revision;
        queuePosition = position;
        yield sync;
      }
      if (hasEnded(sync)) return;
    }
  }

  /**
   * Starts a sync, or joins the one that is running, and waits until it ends.
   *
   * @returns the sync, SUCCEEDED. A sync that FAILED or was CANCELLED is thrown as a CatalogError with its reason and
   *   the `sync`. An aborted signal ends the wait, not the sync.
   */
  async syncAndWait(shop: ShopName, options: SyncAndWaitOptions = {}): Promise<Sync> {
    const syncId = await this.#startOrJoin(shop, options);
    let last: Sync | undefined;
    for await (const sync of this.watchSync(syncId, options)) {
      options.onProgress?.(sync);
      last = sync;
    }
    const sync = required(last);
    if (sync.state !== Sync_State.SUCCEEDED) throw CatalogError.ofSync(sync);
    return sync;
  }

  /** Yields the items of a shop, page by page. */
  async *items(shop: ShopName, { signal, ...filter }: ItemFilter = {}): AsyncGenerator<Item, void> {
    const request = { shop: shopRef(shop), ...defined(filter) };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listItems({ ...request, pageToken }, call);
      return [page.items, page.nextPageToken];
    });
  }

  /** Yields the products of a shop with their items, page by page. */
  async *products(shop: ShopName, { signal, ...filter }: ProductFilter = {}): AsyncGenerator<Product, void> {
    const request = { shop: shopRef(shop), ...defined(filter) };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listProducts({ ...request, pageToken }, call);
      return [page.products, page.nextPageToken];
    });
  }

  /** Yields the shops, page by page. */
  async *shops({ signal, ...filter }: ShopFilter = {}): AsyncGenerator<ShopDetails, void> {
    const request = defined(filter);
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listShops({ ...request, pageToken }, call);
      return [page.shops, page.nextPageToken];
    });
  }

  /** Yields the syncs, newest first, page by page. */
  async *syncs({ signal, shop, states, pageSize }: SyncFilter = {}): AsyncGenerator<Sync, void> {
    const filter = defined({ shop: shop === undefined ? undefined : shopRef(shop), pageSize });
    const request = { ...filter, states: [...(states ?? [])] };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listSyncs({ ...request, pageToken }, call);
      return [page.syncs, page.nextPageToken];
    });
  }

  /** Yields what a sync rejected, page by page. */
  async *issues(syncId: string, { signal, pageSize }: PageOptions = {}): AsyncGenerator<SyncIssue, void> {
    const request = { syncId, ...defined({ pageSize }) };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listSyncIssues({ ...request, pageToken }, call);
      return [page.issues, page.nextPageToken];
    });
  }

  /**
   * Yields the items of a shop and then their changes, without end. Resumes by itself, like watchSync.
   *
   * Store the position of each message together with its items. Throws POSITION_EXPIRED if it must begin again without
   * a position; then remove the items that have not come when a message has `caughtUp`.
   */
  followItems(shop: ShopName, options: FollowOptions = {}): AsyncGenerator<WatchItemsResponse, void> {
    return this.#follow(options, "WatchItems", (client, afterPosition, call) =>
      client.watchItems({ shop: shopRef(shop), afterPosition }, call),
    );
  }

  /** Yields which shops have changed items, without end; with `merchantId` only those of a merchant. Like followItems. */
  followChanges(
    options: FollowOptions & { readonly merchantId?: string } = {},
  ): AsyncGenerator<WatchChangesResponse, void> {
    const { merchantId = "" } = options;
    return this.#follow(options, "WatchChanges", (client, afterPosition, call) =>
      client.watchChanges({ merchantId, afterPosition }, call),
    );
  }

  /** Yields the syncs whose state changes, without end; of one shop, of a merchant or all. Like followItems. */
  followSyncs(
    options: FollowOptions & { readonly shop?: ShopName; readonly merchantId?: string } = {},
  ): AsyncGenerator<WatchSyncsResponse, void> {
    const { shop, merchantId = "" } = options;
    const filter = { merchantId, ...defined({ shop: shop === undefined ? undefined : shopRef(shop) }) };
    return this.#follow(options, "WatchSyncs", (client, afterPosition, call) =>
      client.watchSyncs({ ...filter, afterPosition }, call),
    );
  }

  /** Closes the connections, unless they are another client's. Calls and watches that are open fail. */
  close(): void {
    if (this.#ownsConnections) this.#replicas.close();
  }

  async #startOrJoin(shop: ShopName, options: StartOptions): Promise<string> {
    try {
      return (await this.startSync(shop, options)).syncId;
    } catch (error) {
      const isRunning = error instanceof CatalogError && error.reason === "SYNC_ALREADY_RUNNING";
      const syncId = isRunning ? error.metadata["sync_id"] : undefined;
      if (!syncId) throw error;
      return syncId;
    }
  }

  #resume<M extends StreamMessage>(options: WatchOptions, source: StreamSource<M>): AsyncGenerator<M, void> {
    return new ResumingStream(this.#replicas, this.#credentials, source, options).messages();
  }

  async *#follow<M extends StreamMessage & { readonly position: string }>(
    options: FollowOptions,
    method: string,
    open: (client: Client<typeof CatalogService>, afterPosition: string, call: object) => AsyncIterable<M>,
  ): AsyncGenerator<M, void> {
    let position = options.afterPosition ?? "";
    const source = { method, open: (client: Client<typeof CatalogService>, call: object) => open(client, position, call) };
    for await (const message of this.#resume(options, source)) {
      position = message.position;
      yield message;
    }
  }
}

async function* pages<T>(
  read: (pageToken: string) => Promise<[records: T[], nextPageToken: string]>,
): AsyncGenerator<T, void> {
  let token = "";
  do {
    const [records, next] = await read(token);
    yield* records;
    token = next;
  } while (token);
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Returns the fields that are not undefined: in a message that would mean something else than absent. */
function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/** Returns a message that the contract promises. */
function required<T>(message: T | undefined): T {
  if (message === undefined) throw new CatalogError("the response is incomplete", { code: "INTERNAL" });
  return message;
}
