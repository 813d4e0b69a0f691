/** The context of the views: what the page knows, what the user can do, and when to render again. */

import { Actions } from "./data/actions.js";
import { CatalogState } from "./data/catalog_state.js";
import { ResourceCache } from "./data/resource.js";
import { hasEnded } from "./data/sync_store.js";
import { countOf } from "./format.js";
import { BANNER_DELAY_MILLISECONDS } from "./parts/connection_banner.js";
import { progressText, resultText, waitingText } from "./sync_progress.js";
import { shopName, stateText } from "./words.js";

/** @typedef {import("./announcer.js").Announcer} Announcer */
/** @typedef {import("./data/api.js").Api} Api */
/** @typedef {import("./data/catalog_state.js").Change} Change */
/** @typedef {import("./data/types.js").Sync} Sync */
/** @typedef {import("./router.js").Route} Route */
/** @typedef {{subject: string, name: string}} Session */

export class Page {
  /**
   * @param {{api: Api, session: Session, announcer: Announcer, route: Route, rerender: () => void}} parts
   */
  constructor({ api, session, announcer, route, rerender }) {
    this.api = api;
    this.session = session;
    this.announcer = announcer;
    this.route = route;
    this.rerender = rerender;
    this.isStaleAnnounced = false;
    this.staleTimer = 0;
    this.state = new CatalogState(api, (shopId) => "shopId" in this.route && this.route.shopId === shopId);
    this.actions = new Actions(this.state, rerender);
    this.resources = new ResourceCache(rerender);
    this.state.subscribe((change) => this.handleChange(change));
  }

  /** @param {Change} change */
  handleChange(change) {
    if (change.kind === "sync") this.handleSync(change.sync, change.before);
    if (change.kind === "analysis") this.invalidateItems(change.shopId);
    if (change.kind === "connection") this.announceConnection();
    this.rerender();
  }

  /** Announce a lost connection with the banner, and its return; interruptions that are not shown are not announced. */
  announceConnection() {
    clearTimeout(this.staleTimer);
    if (this.state.isStale && !this.isStaleAnnounced) {
      this.staleTimer = setTimeout(() => {
        this.isStaleAnnounced = true;
        this.announcer.announce("The connection is lost. What is shown may be out of date.");
      }, BANNER_DELAY_MILLISECONDS);
    } else if (!this.state.isStale && this.isStaleAnnounced) {
      this.isStaleAnnounced = false;
      this.announcer.announce("Connected again. Everything is up to date.");
    }
  }

  /**
   * @param {Sync} sync
   * @param {Sync | null} before
   */
  handleSync(sync, before) {
    const isNewState = before === null || before.state !== sync.state;
    if (isNewState && this.state.isCaughtUp) this.resources.invalidate(`syncs ${sync.shop.shop_id} `);
    if (before !== null && hasEnded(sync) && !hasEnded(before)) {
      this.resources.invalidate(`issues ${sync.sync_id} `);
      this.invalidateItems(sync.shop.shop_id);
    }
    if (before === null || !this.isShown(sync)) return;
    if (isNewState || Boolean(before.waiting) !== Boolean(sync.waiting)) this.announceState(sync);
    else if (!hasEnded(sync))
      this.announcer.announceProgress(() => `${shopName(sync.shop)}: ${progressText(sync)}`);
  }

  /** @param {string} shopId */
  invalidateItems(shopId) {
    for (const kind of ["items", "item", "product", "analysis"]) this.resources.invalidate(`${kind} ${shopId} `);
  }

  /** @param {Sync} sync */
  announceState(sync) {
    const details = hasEnded(sync) ? resultText(sync) : waitingText(sync, this.state.now) || progressText(sync);
    const issues =
      hasEnded(sync) && sync.progress.issue_count > 0 ? ` ${countOf(sync.progress.issue_count, "issue")}.` : "";
    this.announcer.announce(
      `${shopName(sync.shop)}: sync ${stateText(sync).text.toLowerCase()}. ${details}${issues}`,
    );
  }

  /** @param {Sync} sync */
  isShown(sync) {
    return this.route.name === "shops" || ("shopId" in this.route && this.route.shopId === sync.shop.shop_id);
  }
}
