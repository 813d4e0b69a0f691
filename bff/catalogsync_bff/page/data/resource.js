/** Answers that views need, loaded when a view first asks for them, and kept while they are loaded again. */

import { ApiError } from "./api.js";

const MAX_RESOURCES = 60;
const RETRY_MILLISECONDS = 3000;

/**
 * @template T
 * @typedef {{value: T | null, error: ApiError | null, isLoading: boolean}} Resource
 */

export class ResourceCache {
  /** @param {() => void} onChange Called when an answer has come. */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Map<string, Resource<any> & {isFresh: boolean, version: number, load: () => Promise<any>}>} */
    this.entries = new Map();
  }

  /**
   * Return what is known under a key, and load it if nothing is, or if it was invalidated.
   *
   * @template T
   * @param {string} key
   * @param {() => Promise<T>} load
   * @returns {Resource<T>}
   */
  get(key, load) {
    let entry = this.entries.get(key);
    if (entry === undefined) {
      entry = { value: null, error: null, isLoading: false, isFresh: false, version: 0, load };
      this.entries.set(key, entry);
      if (this.entries.size > MAX_RESOURCES) this.entries.delete(this.entries.keys().next().value ?? "");
    }
    entry.load = load;
    if (!entry.isFresh && !entry.isLoading) this.run(entry);
    return entry;
  }

  /**
   * Load the resources whose key begins with a prefix again when a view next asks for them. Their values are kept.
   *
   * @param {string} [prefix]
   */
  invalidate(prefix = "") {
    for (const [key, entry] of this.entries) {
      if (!key.startsWith(prefix)) continue;
      entry.isFresh = false;
      // What is being loaded at the moment may be older than the change.
      entry.isLoading = false;
      entry.version += 1;
    }
  }

  clear() {
    this.entries.clear();
  }

  /** @param {Resource<any> & {isFresh: boolean, version: number, load: () => Promise<any>}} entry */
  async run(entry) {
    const version = entry.version;
    entry.isLoading = true;
    entry.isFresh = true;
    /** @type {ApiError | null} */
    let error = null;
    try {
      const value = await entry.load();
      if (entry.version !== version) return;
      entry.value = value;
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught;
      if (entry.version !== version) return;
      error = caught;
    }
    entry.error = error;
    entry.isLoading = false;
    if (error !== null && isTransient(error)) {
      setTimeout(() => {
        if (entry.version === version) entry.isFresh = false;
        this.onChange();
      }, RETRY_MILLISECONDS);
    }
    this.onChange();
  }
}

/** @param {ApiError} error */
function isTransient(error) {
  return error.code === "NO_ANSWER" || error.status === 503 || error.status === 502 || error.status === 504;
}
