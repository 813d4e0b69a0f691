/** The head of the views of one shop: its name, its state, and the way to each view. */

import { h } from "../dom.js";
import { emptyState, pill, problemBox, skeletons } from "../parts/basics.js";
import { icon } from "../parts/icons.js";
import { links } from "../router.js";
import { connectionText, platformName, shopName, stateText } from "../words.js";

/** @typedef {import("../page.js").Page} Page */

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {"overview" | "catalog" | "history" | "settings"} current
 * @param {() => import("../dom.js").Child} content Called only if the shop is known.
 */
export function shopFrame(page, shopId, current, content) {
  const { state } = page;
  const details = state.shops.get(shopId);
  if (details === undefined) return missingShop(page, shopId);
  return h(
    "div",
    { class: "view", key: shopId },
    h(
      "nav",
      { class: "breadcrumb", "aria-label": "Breadcrumb" },
      h("a", { href: links.shops() }, icon("back"), "All shops"),
    ),
    h(
      "div",
      { class: "shop-head" },
      h(
        "div",
        null,
        h("h1", { tabindex: "-1" }, shopName(details.shop)),
        h(
          "p",
          { class: "muted" },
          platformName(details.shop.platform),
          shopName(details.shop) === details.shop.domain ? "" : ` · ${details.shop.domain}`,
        ),
      ),
      shopState(page, shopId),
    ),
    h(
      "nav",
      { class: "tabs", "aria-label": "Shop" },
      tab("Overview", links.shop(shopId), current === "overview"),
      tab("Catalog", links.catalog(shopId), current === "catalog"),
      tab("History", links.history(shopId), current === "history"),
      tab("Settings", links.settings(shopId), current === "settings"),
    ),
    content(),
  );
}

/**
 * The state of a shop: of its active sync, else of its connection. While a new sync runs, no old error is shown.
 *
 * @param {Page} page
 * @param {string} shopId
 */
export function shopState({ state }, shopId) {
  const active = state.syncs.active(shopId);
  const details = state.shops.get(shopId);
  return pill(active !== null ? stateText(active) : connectionText(details?.connection ?? null));
}

/**
 * @param {string} label
 * @param {string} href
 * @param {boolean} isCurrent
 */
function tab(label, href, isCurrent) {
  return h("a", { class: "tab", href, "aria-current": isCurrent ? "page" : null }, label);
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function missingShop({ state }, shopId) {
  const error = state.statusErrors.get(shopId);
  const isMissing = state.shopsLoad === "ready" || error?.code === "SHOP_NOT_FOUND";
  if (state.shopsLoad !== "loading" && state.shopsLoad !== "ready") {
    return h(
      "div",
      { class: "view", key: "error" },
      h("h1", { tabindex: "-1" }, "Shop"),
      problemBox({ reason: state.shopsLoad.code, message: state.shopsLoad.message, tone: "warning" }),
    );
  }
  if (!isMissing)
    return h(
      "div",
      { class: "view", key: "loading" },
      h("h1", { class: "visually-hidden", tabindex: "-1" }, "Shop"),
      skeletons(3, "skeleton-line"),
    );
  return h(
    "div",
    { class: "view", key: "missing" },
    h("h1", { class: "visually-hidden", tabindex: "-1" }, "No such shop"),
    emptyState(
      {
        iconName: "store",
        title: "There is no such shop",
        text: "It was deleted, or it belongs to another account.",
      },
      h("a", { class: "button button-primary", href: links.shops() }, "Show the shops"),
    ),
  );
}
