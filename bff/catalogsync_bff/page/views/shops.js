/** All shops of the session: state, counts, freshness, and what to do where something is broken. */

import { h } from "../dom.js";
import { countOf, formatCount, formatUntil } from "../format.js";
import { ago, emptyState, problemBox, skeletons } from "../parts/basics.js";
import { progressBar } from "../parts/progress_bar.js";
import { productImagePath, thumbnail } from "../parts/thumbnail.js";
import { links } from "../router.js";
import { progressText, timeLeftText, waitingText } from "../sync_progress.js";
import { platformName, shopName } from "../words.js";
import { shopState } from "./shop_frame.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").ShopDetails} ShopDetails */
/** @typedef {import("../data/types.js").Sync} Sync */

const PICTURES = 5;

/** @param {Page} page */
export function shopsView(page) {
  return h(
    "div",
    { class: "view", key: "shops" },
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Shops"), summary(page)),
    content(page),
  );
}

/** @param {Page} page */
function summary({ state }) {
  if (state.shopsLoad !== "ready" || state.shops.size === 0) return h("p", { class: "muted" }, " ");
  const shops = [...state.shops.values()];
  const running = shops.filter((details) => state.syncs.active(details.shop.shop_id) !== null).length;
  const broken = shops.filter(
    (details) => details.connection?.state === "BROKEN" && state.syncs.active(details.shop.shop_id) === null,
  ).length;
  const parts = [
    countOf(shops.length, "shop"),
    running > 0 && `${running} syncing`,
    broken > 0 && (broken === 1 ? "1 needs attention" : `${broken} need attention`),
  ];
  return h("p", { class: "muted" }, parts.filter(Boolean).join(" · "));
}

/** @param {Page} page */
function content(page) {
  const { state } = page;
  if (state.shopsLoad === "loading") return h("div", { class: "shop-grid" }, skeletons(3, "skeleton-card"));
  if (state.shopsLoad !== "ready")
    return problemBox({ reason: state.shopsLoad.code, message: state.shopsLoad.message, tone: "warning" });
  if (state.shops.size === 0) {
    return emptyState({
      iconName: "store",
      title: "No shops yet",
      text: "Connect a shop on your platform. It appears here when its first sync begins.",
    });
  }
  const shops = [...state.shops.values()].sort((one, other) =>
    shopName(one.shop).localeCompare(shopName(other.shop)),
  );
  return h(
    "ul",
    { class: "shop-grid" },
    shops.map((details) => h("li", { key: details.shop.shop_id }, shopCard(page, details))),
  );
}

/**
 * @param {Page} page
 * @param {ShopDetails} details
 */
function shopCard(page, details) {
  const { shop } = details;
  const active = page.state.syncs.active(shop.shop_id);
  return h(
    "article",
    { class: "card shop-card" },
    h(
      "div",
      { class: "shop-card-head" },
      h("h2", null, h("a", { class: "card-link", href: links.shop(shop.shop_id) }, shopName(shop))),
      h("p", { class: "muted small" }, platformName(shop.platform)),
      shopState(page, shop.shop_id),
      h("p", { class: "shop-domain muted small" }, shopName(shop) === shop.domain ? "" : shop.domain),
    ),
    pictures(page, shop.shop_id),
    counts(page, shop.shop_id),
    active !== null
      ? runningSync(page, active)
      : connectionProblem(details) || h("p", { class: "shop-card-foot muted small" }, nextSync(page, details)),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function pictures(page, shopId) {
  const last = page.state.syncs.lastEnded(shopId);
  const { value } = page.resources.get(`pictures ${shopId} ${last?.sync_id ?? ""}`, () =>
    page.api.list(`/shops/${shopId}/products`, { page_size: 12 }),
  );
  const products = (value?.records ?? [])
    .filter((product) => productImagePath(shopId, product) !== null)
    .slice(0, PICTURES);
  const missing = PICTURES - products.length;
  return h(
    "div",
    { class: "shop-pictures", "aria-hidden": "true" },
    products.map((product) => thumbnail({ path: productImagePath(shopId, product), alt: "", size: 96 })),
    Array.from({ length: missing }, () => thumbnail({ path: null, alt: "", size: 96 })),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function counts({ state }, shopId) {
  const status = state.statuses.get(shopId);
  const fresh = status?.fresh_as_of_time;
  return h(
    "dl",
    { class: "shop-counts" },
    h("div", null, h("dt", null, "Products"), h("dd", null, status ? formatCount(status.product_count) : "–")),
    h("div", null, h("dt", null, "Items"), h("dd", null, status ? formatCount(status.item_count) : "–")),
    h("div", null, h("dt", null, "As of"), h("dd", null, fresh ? ago(fresh, state.now) : "–")),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function runningSync({ state }, sync) {
  const { now, stateTime, isStale } = state;
  const detail = waitingText(sync, stateTime) || (isStale ? "" : timeLeftText(sync, now));
  return h(
    "div",
    { class: "shop-card-foot" },
    progressBar(sync, { now: stateTime, isStale, label: `Sync of ${shopName(sync.shop)}`, isSmall: true }),
    h(
      "p",
      { class: "small running-text" },
      h("span", null, progressText(sync)),
      h("span", { class: "muted" }, detail),
    ),
  );
}

/** @param {ShopDetails} details */
function connectionProblem({ connection }) {
  if (connection?.state !== "BROKEN" && connection?.state !== "FAILING") return null;
  return h(
    "div",
    { class: "shop-card-foot" },
    problemBox({
      reason: connection.reason,
      message: "",
      tone: connection.state === "BROKEN" ? "bad" : "warning",
    }),
  );
}

/**
 * @param {Page} page
 * @param {ShopDetails} details
 */
function nextSync({ state }, { schedule }) {
  if (schedule?.paused) return "Automatic syncs are paused";
  if (!schedule?.next_due_time) return "No automatic sync is due";
  return Date.parse(schedule.next_due_time) <= state.now
    ? "The next automatic sync is due"
    : `Next automatic sync ${formatUntil(schedule.next_due_time, state.now)}`;
}
