/** What the page knows: shops, their status, their syncs, and whether the connection to the server is up to date. */

import { ApiError } from "./api.js";
import { RateHistory } from "./rate_history.js";
import { SyncStore, hasEnded } from "./sync_store.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./event_stream.js").StreamEvent} StreamEvent */
/** @typedef {import("./event_stream.js").StreamState} StreamState */
/** @typedef {import("./types.js").ShopDetails} ShopDetails */
/** @typedef {import("./types.js").Status} Status */
/** @typedef {import("./types.js").Sync} Sync */

const MAX_PARALLEL_STATUS_CALLS = 3;
const RETRY_MILLISECONDS = 3000;
/** The schedule and the connection of a shop may change without an event. */
const REFRESH_MILLISECONDS = 60_000;
/** The counts of a shop grow while a sync runs, and while its images are analyzed. */
const ACTIVE_REFRESH_MILLISECONDS = 5000;

/**
 * @typedef {{kind: "sync", sync: Sync, before: Sync | null} | {kind: "analysis", shopId: string}
 *   | {kind: "connection"} | {kind: "other"}} Change
 */

export class CatalogState {
  /**
   * @param {Api} api
   * @param {(shopId: string) => boolean} isShown Whether a view of the shop is open.
   */
  constructor(api, isShown) {
    this.api = api;
    this.isShown = isShown;
    this.syncs = new SyncStore();
    this.rates = new RateHistory();
    /** @type {Map<string, ShopDetails>} */
    this.shops = new Map();
    /** @type {"loading" | "ready" | ApiError} */
    this.shopsLoad = "loading";
    /** @type {Map<string, Status>} */
    this.statuses = new Map();
    /** @type {Map<string, ApiError>} */
    this.statusErrors = new Map();
    /** @type {StreamState} */
    this.stream = "connecting";
    /** Whether the server itself is connected with the catalog. */
    this.isUpstreamConnected = true;
    this.isCaughtUp = false;
    /** @type {number | null} When the page last knew the present state; null if it does now, or never did. */
    this.staleSince = null;
    this.clockOffset = 0;
    /** @type {Set<(change: Change) => void>} */
    this.listeners = new Set();
    /** @type {Set<string>} */
    this.statusQueue = new Set();
    this.runningStatusCalls = 0;
    /** @type {number[]} */
    this.timers = [];
  }

  /** The server's time in milliseconds. */
  get now() {
    return Date.now() + this.clockOffset;
  }

  /** The time of the state that is shown: what a sync waits for does not pass while the page is disconnected. */
  get stateTime() {
    return this.staleSince ?? this.now;
  }

  /** Whether what is shown may be out of date. */
  get isStale() {
    return this.staleSince !== null;
  }

  /** @param {(change: Change) => void} listener */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  start() {
    this.loadShops();
    this.timers.push(
      setInterval(() => this.observeRates(), 1000),
      setInterval(() => this.refresh(), REFRESH_MILLISECONDS),
      setInterval(() => this.refreshActive(), ACTIVE_REFRESH_MILLISECONDS),
    );
  }

  stop() {
    for (const timer of this.timers) clearInterval(timer);
    this.listeners.clear();
  }

  /** @param {StreamState} state */
  handleStreamState(state) {
    this.stream = state;
    if (state === "lost") this.becomeStale();
    this.notify({ kind: "connection" });
  }

  /** @param {StreamEvent} event */
  handleEvent({ type, data }) {
    if (type === "hello") this.handleHello(data);
    else if (type === "sync") this.applySync(data);
    else if (type === "caught_up") this.handleCaughtUp();
    else if (type === "sync_removed") this.removeSync(data.sync_id);
    else if (type === "shop_deleted") this.removeShop(data.shop_id);
    else if (type === "connection") this.handleUpstream(data.state === "restored");
  }

  /** Return the events from which another tab learns the present state. */
  snapshot() {
    /** @type {StreamEvent[]} */
    const events = [{ type: "hello", data: { server_time: new Date(this.now).toISOString() } }];
    for (const sync of this.syncs.syncs.values()) events.push({ type: "sync", data: sync });
    if (this.isCaughtUp) events.push({ type: "caught_up", data: {} });
    if (!this.isUpstreamConnected) events.push({ type: "connection", data: { state: "interrupted" } });
    return events;
  }

  /**
   * Store a state of a sync, from the stream or from an answer.
   *
   * @param {Sync} sync
   */
  applySync(sync) {
    const before = this.syncs.syncs.get(sync.sync_id) ?? null;
    if (!this.syncs.apply(sync)) return;
    const hasJustEnded = hasEnded(sync) && before !== null && !hasEnded(before);
    if (hasJustEnded || !this.shops.has(sync.shop.shop_id)) this.requestStatus(sync.shop.shop_id);
    this.notify({ kind: "sync", sync: this.syncs.syncs.get(sync.sync_id) ?? sync, before });
  }

  /** Load the shops and their status again. */
  async loadShops() {
    try {
      const shops = new Map();
      let pageToken = "";
      do {
        const page = await this.api.list("/shops", { page_size: 100, page_token: pageToken });
        for (const details of page.records) shops.set(details.shop.shop_id, details);
        pageToken = page.nextPageToken;
      } while (pageToken !== "" && shops.size < 1000);
      this.shops = shops;
      this.shopsLoad = "ready";
      for (const shopId of shops.keys()) this.requestStatus(shopId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.shopsLoad !== "ready") this.shopsLoad = error;
      if (error.status !== 401) setTimeout(() => this.loadShops(), RETRY_MILLISECONDS);
    }
    this.notify({ kind: "other" });
  }

  /**
   * Read the status of a shop again, after those requested before.
   *
   * @param {string} shopId
   */
  requestStatus(shopId) {
    this.statusQueue.add(shopId);
    this.runStatusCalls();
  }

  runStatusCalls() {
    while (this.runningStatusCalls < MAX_PARALLEL_STATUS_CALLS && this.statusQueue.size > 0) {
      const shopId = /** @type {string} */ (this.statusQueue.values().next().value);
      this.statusQueue.delete(shopId);
      this.runningStatusCalls += 1;
      this.loadStatus(shopId).finally(() => {
        this.runningStatusCalls -= 1;
        this.runStatusCalls();
      });
    }
  }

  /** @param {string} shopId */
  async loadStatus(shopId) {
    try {
      const status = /** @type {Status} */ (await this.api.get(`/shops/${shopId}/status`));
      const before = this.statuses.get(shopId);
      this.statuses.set(shopId, status);
      if (before !== undefined && JSON.stringify(before.analysis) !== JSON.stringify(status.analysis))
        this.notify({ kind: "analysis", shopId });
      this.statusErrors.delete(shopId);
      this.rememberShop(status);
      for (const sync of [status.last_finished_sync, status.active_sync]) if (sync) this.applySync(sync);
      const active = this.syncs.active(shopId);
      if (active !== null && status.active_sync === null) await this.settle(active.sync_id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.statusErrors.set(shopId, error);
      if (error.code === "SHOP_NOT_FOUND" || error.code === "SHOP_BEING_DELETED") this.removeShop(shopId);
      else if (error.status !== 401 && !this.isStale)
        setTimeout(() => this.requestStatus(shopId), RETRY_MILLISECONDS);
    }
    this.notify({ kind: "other" });
  }

  /** @param {Status} status */
  rememberShop(status) {
    const known = this.shops.get(status.shop.shop_id);
    const { shop, connection, schedule } = status;
    this.shops.set(shop.shop_id, {
      same_store_shop_ids: [],
      ...known,
      shop,
      connection: connection ?? known?.connection ?? null,
      schedule: schedule ?? known?.schedule ?? null,
    });
  }

  /**
   * Read a sync that is active here, and that the server did not mention: it has ended, or does not exist any more.
   *
   * @param {string} syncId
   */
  async settle(syncId) {
    try {
      this.applySync(await this.api.get(`/sync/${syncId}`));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "SYNC_NOT_FOUND") this.removeSync(syncId);
      else if (error.status !== 401) setTimeout(() => this.settle(syncId), RETRY_MILLISECONDS);
    }
  }

  /** @param {any} data */
  handleHello(data) {
    if (data.server_time) this.clockOffset = Date.parse(data.server_time) - Date.now();
    this.isUpstreamConnected = true;
    this.syncs.beginSnapshot();
  }

  handleCaughtUp() {
    const returned = this.staleSince !== null;
    this.isCaughtUp = true;
    this.staleSince = null;
    for (const syncId of this.syncs.endSnapshot()) this.settle(syncId);
    // Without an event: counts, freshness and schedules may have changed while the connection was lost.
    if (returned) this.refresh();
    this.notify({ kind: "connection" });
  }

  /** @param {boolean} isConnected */
  handleUpstream(isConnected) {
    this.isUpstreamConnected = isConnected;
    if (isConnected) this.handleCaughtUp();
    else this.becomeStale();
    this.notify({ kind: "connection" });
  }

  becomeStale() {
    this.staleSince ??= this.now;
  }

  refresh() {
    if (this.shopsLoad !== "ready" || document.hidden) return;
    for (const shopId of this.shops.keys()) this.requestStatus(shopId);
  }

  refreshActive() {
    if (this.isStale || document.hidden) return;
    for (const shopId of this.shops.keys()) if (this.isChanging(shopId)) this.requestStatus(shopId);
  }

  /** @param {string} shopId */
  isChanging(shopId) {
    if (this.syncs.active(shopId) !== null) return true;
    return this.isShown(shopId) && (this.statuses.get(shopId)?.analysis?.pending_item_count ?? 0) > 0;
  }

  /** @param {string} syncId */
  removeSync(syncId) {
    const known = this.syncs.syncs.get(syncId);
    this.syncs.remove(syncId);
    // A scheduled sync that changed nothing is not stored, but the catalog is fresher now.
    if (known !== undefined) this.requestStatus(known.shop.shop_id);
    this.notify({ kind: "other" });
  }

  /** @param {string} shopId */
  removeShop(shopId) {
    this.shops.delete(shopId);
    this.statuses.delete(shopId);
    this.syncs.removeShop(shopId);
    this.notify({ kind: "other" });
  }

  observeRates() {
    if (this.isStale) return;
    for (const sync of this.syncs.syncs.values())
      if (sync.state === "RUNNING") this.rates.observe(sync, Date.now());
  }

  /** @param {Change} change */
  notify(change) {
    for (const listener of this.listeners) listener(change);
  }
}
