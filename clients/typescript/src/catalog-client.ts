/** The client of CatalogService and AnalysisService: typed calls, pages as iterators, and watches that resume. */

import type { MessageInitShape } from "@bufbuild/protobuf";

import { isLoopback, parseAddress } from "./address.js";
import { CatalogTransport } from "./catalog-transport.js";
import { type CredentialOptions, Credentials } from "./credentials.js";
import { CatalogError } from "./errors.js";
import type {
  ImageAnalysis,
  LeaseTasksRequestSchema,
  LeaseTasksResponse,
  RequeueTasksRequest,
} from "./gen/catalogsync/catalog/v1/analysis_service_pb.js";
import {
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
  AnalysisFilter,
  CallOptions,
  CatalogClientOptions,
  DeadTaskFilter,
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
import { defined, pages, required, shopRef } from "./requests.js";
import { ResumingStream, type StreamMessage, type StreamSource, type WatchOptions } from "./resuming-stream.js";
import { type CatalogCalls, createTypedCalls } from "./typed-calls.js";

/** Returns whether a sync has ended: SUCCEEDED, FAILED or CANCELLED. */
export function hasEnded({ state }: Sync): boolean {
  return state === Sync_State.SUCCEEDED || state === Sync_State.FAILED || state === Sync_State.CANCELLED;
}

/** Returns a client, which connects with its first call. Close it at the end. */
export function createCatalogClient(options: CatalogClientOptions): CatalogClient {
  return new CatalogClient(options);
}

/** Every method throws CatalogError, or the reason of the caller's signal. */
export class CatalogClient {
  /** Every method of both services, with the same deadlines, retries, credentials and errors. Streams end as they do. */
  readonly rpc: CatalogCalls;
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
      open: (calls, call) => calls.watchSync({ syncId, afterRevision: revision }, call),
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
    return this.#follow(options, "WatchItems", (calls, afterPosition, call) =>
      calls.watchItems({ shop: shopRef(shop), afterPosition }, call),
    );
  }

  /** Yields which shops have changed items, without end; with `merchantId` only those of a merchant. Like followItems. */
  followChanges(
    options: FollowOptions & { readonly merchantId?: string } = {},
  ): AsyncGenerator<WatchChangesResponse, void> {
    const { merchantId = "" } = options;
    return this.#follow(options, "WatchChanges", (calls, afterPosition, call) =>
      calls.watchChanges({ merchantId, afterPosition }, call),
    );
  }

  /** Yields the syncs whose state changes, without end; of one shop, of a merchant or all. Like followItems. */
  followSyncs(
    options: FollowOptions & { readonly shop?: ShopName; readonly merchantId?: string } = {},
  ): AsyncGenerator<WatchSyncsResponse, void> {
    const { shop, merchantId = "" } = options;
    const filter = { merchantId, ...defined({ shop: shop === undefined ? undefined : shopRef(shop) }) };
    return this.#follow(options, "WatchSyncs", (calls, afterPosition, call) =>
      calls.watchSyncs({ ...filter, afterPosition }, call),
    );
  }

  /** Yields the analyses of an analyzer in a shop, lowest quality first, page by page. */
  async *analyses(
    shop: ShopName,
    analyzer: string,
    { signal, ...filter }: AnalysisFilter = {},
  ): AsyncGenerator<ImageAnalysis, void> {
    const request = { shop: shopRef(shop), analyzer, ...defined(filter) };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listAnalyses({ ...request, pageToken }, call);
      return [page.analyses, page.nextPageToken];
    });
  }

  /** Yields the tasks of a shop whose attempts all failed, page by page. */
  async *deadTasks(shop: ShopName, { signal, ...filter }: DeadTaskFilter = {}): AsyncGenerator<ImageAnalysis, void> {
    const request = { shop: shopRef(shop), ...defined(filter) };
    const call = defined({ signal });
    yield* pages(async (pageToken) => {
      const page = await this.rpc.listDeadTasks({ ...request, pageToken }, call);
      return [page.tasks, page.nextPageToken];
    });
  }

  /** Queues all images that `images` selects for another analysis, and returns how many these are. */
  async requeue(
    shop: ShopName,
    analyzer: string,
    images: RequeueTasksRequest["images"],
    { signal }: CallOptions = {},
  ): Promise<bigint> {
    const request = { shop: shopRef(shop), analyzer, images };
    let count = 0n;
    for (let remaining = true; remaining; ) {
      const response = await this.rpc.requeueTasks(request, defined({ signal }));
      count += response.requeuedCount;
      remaining = response.remaining;
    }
    return count;
  }

  /** Yields leased tasks, and heartbeats without tasks, without end, like watchSync. `runAnalysisWorker` does the rest. */
  leaseTasks(
    request: MessageInitShape<typeof LeaseTasksRequestSchema>,
    options: WatchOptions = {},
  ): AsyncGenerator<LeaseTasksResponse, void> {
    return this.#resume(options, { method: "LeaseTasks", open: (calls, call) => calls.leaseTasks(request, call) });
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
    open: (calls: CatalogCalls, afterPosition: string, call: object) => AsyncIterable<M>,
  ): AsyncGenerator<M, void> {
    let position = options.afterPosition ?? "";
    const source = { method, open: (calls: CatalogCalls, call: object) => open(calls, position, call) };
    for await (const message of this.#resume(options, source)) {
      position = message.position;
      yield message;
    }
  }
}
