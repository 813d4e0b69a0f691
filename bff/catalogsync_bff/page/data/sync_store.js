/** The latest state of every sync that the page has heard of. The highest revision wins, whatever order states come in. */

/** @typedef {import("./types.js").Sync} Sync */

const ENDED_STATES = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);
const MAX_ENDED_SYNCS = 500;

/**
 * Whether a sync has ended. A state that this page does not know is one that has not.
 *
 * @param {Sync} sync
 */
export function hasEnded(sync) {
  return ENDED_STATES.has(sync.state);
}

/**
 * Return a sync of an answer with counts of zero where the server left them out.
 *
 * @param {any} sync
 * @returns {Sync}
 */
export function completeSync(sync) {
  const none = {
    seen_count: 0,
    created_count: 0,
    updated_count: 0,
    unchanged_count: 0,
    deleted_count: 0,
    rejected_count: 0,
  };
  const { products, items, ...rest } = sync.progress ?? {};
  const progress = {
    checked_product_count: 0,
    issue_count: 0,
    estimated_product_count: null,
    estimated_item_count: null,
    ...rest,
  };
  return { ...sync, progress: { ...progress, products: { ...none, ...products }, items: { ...none, ...items } } };
}

export class SyncStore {
  constructor() {
    /** @type {Map<string, Sync>} */
    this.syncs = new Map();
    /** @type {Set<string>} Active syncs that the present snapshot of the stream has not listed so far. */
    this.unconfirmed = new Set();
  }

  /**
   * Store a state of a sync, unless a later one is stored.
   *
   * @param {Sync} sync
   * @returns {boolean} Whether it was stored.
   */
  apply(sync) {
    this.unconfirmed.delete(sync.sync_id);
    const known = this.syncs.get(sync.sync_id);
    // The position in the queue changes without a new revision.
    const isOlder = known !== undefined && sync.revision < known.revision;
    if (isOlder) return false;
    this.syncs.set(sync.sync_id, completeSync(sync));
    this.prune();
    return true;
  }

  /** @param {string} syncId */
  remove(syncId) {
    this.unconfirmed.delete(syncId);
    this.syncs.delete(syncId);
  }

  /** @param {string} shopId */
  removeShop(shopId) {
    for (const sync of this.ofShop(shopId)) this.remove(sync.sync_id);
  }

  /** Begin a snapshot: the stream will list every sync that is still active. */
  beginSnapshot() {
    this.unconfirmed = new Set(
      [...this.syncs.values()].filter((sync) => !hasEnded(sync)).map((sync) => sync.sync_id),
    );
  }

  /** Return the ids of syncs that are active here and that the snapshot did not list: they ended, or were removed. */
  endSnapshot() {
    const missing = [...this.unconfirmed];
    this.unconfirmed.clear();
    return missing;
  }

  /**
   * Return the syncs of a shop, the newest first.
   *
   * @param {string} shopId
   */
  ofShop(shopId) {
    const found = [...this.syncs.values()].filter((sync) => sync.shop.shop_id === shopId);
    return found.sort((one, other) => compareTimes(other.create_time, one.create_time));
  }

  /**
   * Return the sync of a shop that has not ended, if there is one.
   *
   * @param {string} shopId
   */
  active(shopId) {
    return this.ofShop(shopId).find((sync) => !hasEnded(sync)) ?? null;
  }

  /**
   * Return the last sync of a shop that ended.
   *
   * @param {string} shopId
   */
  lastEnded(shopId) {
    const ended = this.ofShop(shopId).filter(hasEnded);
    return ended.sort((one, other) => compareTimes(other.end_time ?? "", one.end_time ?? ""))[0] ?? null;
  }

  prune() {
    if (this.syncs.size <= MAX_ENDED_SYNCS * 2) return;
    const ended = [...this.syncs.values()].filter(hasEnded);
    ended.sort((one, other) => compareTimes(one.end_time ?? "", other.end_time ?? ""));
    for (const sync of ended.slice(0, ended.length - MAX_ENDED_SYNCS)) this.syncs.delete(sync.sync_id);
  }
}

/**
 * @param {string} one RFC 3339.
 * @param {string} other
 */
function compareTimes(one, other) {
  return (Date.parse(one) || 0) - (Date.parse(other) || 0);
}
