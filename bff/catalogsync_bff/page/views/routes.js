/** Which view a route shows, and its title. */

import { h } from "../dom.js";
import { hasEnded } from "../data/sync_store.js";
import { emptyState } from "../parts/basics.js";
import { links } from "../router.js";
import { percentDone } from "../sync_progress.js";
import { shopName } from "../words.js";
import { catalogView } from "./catalog.js";
import { historyView } from "./history.js";
import { itemView, productView } from "./item.js";
import { overviewView } from "./overview.js";
import { settingsView } from "./settings.js";
import { shopFrame } from "./shop_frame.js";
import { shopsView } from "./shops.js";
import { syncView } from "./sync.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../dom.js").VNode} VNode */

/**
 * @param {Page} page
 * @returns {VNode}
 */
export function renderRoute(page) {
  const { route } = page;
  switch (route.name) {
    case "shops":
      return shopsView(page);
    case "shop":
      return shopFrame(page, route.shopId, "overview", () => overviewView(page, route.shopId));
    case "catalog":
      return shopFrame(page, route.shopId, "catalog", () => catalogView(page, route.shopId, route.filter));
    case "history":
      return shopFrame(page, route.shopId, "history", () => historyView(page, route.shopId, route.page));
    case "settings":
      return shopFrame(page, route.shopId, "settings", () => settingsView(page, route.shopId));
    case "sync":
      return shopFrame(page, route.shopId, "history", () => syncView(page, route));
    case "item":
      return shopFrame(page, route.shopId, "catalog", () => itemView(page, route));
    case "product":
      return shopFrame(page, route.shopId, "catalog", () => productView(page, route));
    default:
      return notFound();
  }
}

function notFound() {
  return h(
    "div",
    { class: "view", key: "unknown" },
    h("h1", { tabindex: "-1", class: "visually-hidden" }, "No such page"),
    emptyState(
      { iconName: "search", title: "There is no such page", text: "The address may be incomplete." },
      h("a", { class: "button button-primary", href: links.shops() }, "Show the shops"),
    ),
  );
}

/**
 * Return the title of the window; with the progress of a running sync, which is seen in a tab in the background.
 *
 * @param {Page} page
 */
export function titleOf(page) {
  const { route, state } = page;
  if (!("shopId" in route)) return "Shops – Catalog";
  const details = state.shops.get(route.shopId);
  const name = details ? shopName(details.shop) : "Shop";
  const active = state.syncs.active(route.shopId);
  if (active === null || hasEnded(active) || state.isStale) return `${name} – Catalog`;
  const percent = percentDone(active);
  return percent === null ? `Syncing – ${name}` : `${percent} % – ${name}`;
}
