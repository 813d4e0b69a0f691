/** What the user does: start, cancel and resume syncs, and change the schedule; with the state of each attempt. */

import { ApiError } from "./api.js";

/** @typedef {import("./catalog_state.js").CatalogState} CatalogState */
/** @typedef {import("./types.js").Sync} Sync */

/**
 * The state of the last action of a shop.
 *
 * @typedef {{name: string, isRunning: boolean, error: ApiError | null}} Attempt
 */

export class Actions {
  /**
   * @param {CatalogState} state
   * @param {() => void} onChange
   */
  constructor(state, onChange) {
    this.state = state;
    this.onChange = onChange;
    /** @type {Map<string, Attempt>} */
    this.attempts = new Map();
  }

  /** @param {string} shopId */
  attempt(shopId) {
    return this.attempts.get(shopId) ?? null;
  }

  /**
   * @param {string} shopId
   * @param {"FULL" | "INCREMENTAL" | null} mode null: incremental if possible.
   * @param {{allowMassDelete?: boolean}} [options]
   */
  startSync(shopId, mode, { allowMassDelete = false } = {}) {
    const name = mode === "FULL" ? "full" : "start";
    return this.run(shopId, name, async () => {
      const body = { shop_id: shopId, mode, ...(allowMassDelete ? { allow_mass_delete: true } : {}) };
      try {
        this.state.applySync(await this.state.api.send("POST", "/sync", body));
      } catch (error) {
        // It is what the user wanted: a sync runs.
        if (!(error instanceof ApiError) || error.code !== "SYNC_ALREADY_RUNNING") throw error;
        await this.state.settle(error.details.sync_id);
      }
    });
  }

  /** @param {Sync} sync */
  cancelSync(sync) {
    return this.run(sync.shop.shop_id, "cancel", async () => {
      try {
        this.state.applySync(await this.state.api.send("POST", `/sync/${sync.sync_id}/cancel`));
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "SYNC_NOT_CANCELLABLE") throw error;
        await this.state.settle(sync.sync_id);
      }
    });
  }

  /** @param {Sync} sync */
  resumeSync(sync) {
    return this.run(sync.shop.shop_id, "resume", async () => {
      this.state.applySync(await this.state.api.send("POST", `/sync/${sync.sync_id}/resume`));
    });
  }

  /**
   * @param {string} shopId
   * @param {Record<string, any>} changes
   */
  changeShop(shopId, changes) {
    return this.run(shopId, "save", async () => {
      this.state.shops.set(shopId, await this.state.api.send("PATCH", `/shops/${shopId}`, changes));
      this.state.requestStatus(shopId);
    });
  }

  /**
   * @param {string} shopId
   * @param {string} name
   * @param {() => Promise<void>} action
   * @returns {Promise<boolean>} Whether it succeeded.
   */
  async run(shopId, name, action) {
    if (this.attempts.get(shopId)?.isRunning) return false;
    this.attempts.set(shopId, { name, isRunning: true, error: null });
    this.onChange();
    let failure = null;
    try {
      await action();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failure = error;
    } finally {
      if (failure === null) this.attempts.delete(shopId);
      else this.attempts.set(shopId, { name, isRunning: false, error: failure });
      this.onChange();
    }
    return failure === null;
  }
}
