/** The items of a shop as a grid, with search and filters. */

import { h } from "../dom.js";
import { formatCount, formatPrice } from "../format.js";
import { button, emptyState, pager, problemBox, skeletons } from "../parts/basics.js";
import { icon } from "../parts/icons.js";
import { analysisState, lowestPercent, qualityBadge } from "../parts/quality.js";
import { itemImagePath, thumbnail } from "../parts/thumbnail.js";
import { links } from "../router.js";
import { analysisFilter } from "./analysis.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Item} Item */
/** @typedef {import("../router.js").CatalogFilter} CatalogFilter */

const PAGE_SIZE = 48;
const MIN_TEXT_LENGTH = 3;

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {CatalogFilter} filter
 */
export function catalogView(page, shopId, filter) {
  const isTooShort = filter.text !== "" && filter.text.length < MIN_TEXT_LENGTH;
  return h(
    "section",
    { key: "catalog", "aria-labelledby": "catalog-heading" },
    h("h2", { id: "catalog-heading", class: "visually-hidden" }, "Catalog"),
    searchForm(shopId, filter, isTooShort),
    analysisFilter(page, shopId, filter),
    !isTooShort && results(page, shopId, filter),
  );
}

/**
 * @param {string} shopId
 * @param {CatalogFilter} filter
 * @param {boolean} isTooShort
 */
function searchForm(shopId, filter, isTooShort) {
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [text, sku] = ["text", "sku"].map((name) => String(form.get(name) ?? "").trim());
    location.hash = links.catalog(shopId, { text, sku, deleted: form.get("deleted") !== null });
  };
  return h(
    "form",
    { class: "search-form", role: "search", onsubmit: submit },
    h(
      "div",
      { class: "field field-grow" },
      h("label", { for: "search-text" }, "Name"),
      h("input", {
        id: "search-text",
        name: "text",
        type: "search",
        autocomplete: "off",
        value: filter.text,
        "aria-invalid": isTooShort ? "true" : null,
        "aria-describedby": isTooShort ? "search-hint" : null,
      }),
      isTooShort && h("p", { class: "hint hint-error", id: "search-hint" }, "Enter at least 3 characters."),
    ),
    h(
      "div",
      { class: "field" },
      h("label", { for: "search-sku" }, "SKU"),
      h("input", { id: "search-sku", name: "sku", autocomplete: "off", value: filter.sku }),
    ),
    h(
      "label",
      { class: "checkbox" },
      h("input", { type: "checkbox", name: "deleted", checked: filter.deleted }),
      "With deleted ones",
    ),
    button("Search", { type: "submit", kind: "primary" }),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {CatalogFilter} filter
 */
function results(page, shopId, filter) {
  const key = `items ${shopId} ${JSON.stringify(filter)}`;
  const { value, error } = page.resources.get(key, () =>
    page.api.list(`/shops/${shopId}/items`, {
      text: filter.text,
      sku: filter.sku,
      include_deleted: filter.deleted,
      analysis_state: filter.analysis,
      page_size: PAGE_SIZE,
      page_token: filter.page,
    }),
  );
  if (error !== null && value === null) return itemsError(shopId, error);
  if (value === null) return h("div", { class: "item-grid" }, skeletons(12, "skeleton-item"));
  if (value.records.length === 0) return noItems(shopId, filter);
  return [
    h(
      "ul",
      { class: "item-grid" },
      value.records.map((item) => h("li", { key: item.item_id }, itemCard(shopId, item))),
    ),
    pager({ page: filter.page, nextPageToken: value.nextPageToken }, (token) =>
      links.catalog(shopId, { ...filter, page: token }),
    ),
  ];
}

/**
 * @param {string} shopId
 * @param {import("../data/api.js").ApiError} error
 */
function itemsError(shopId, error) {
  const isExpired = error.code === "POSITION_EXPIRED" || error.code === "INVALID_REQUEST";
  const back = h("a", { class: "button button-secondary", href: links.catalog(shopId) }, "Show all items");
  return problemBox(
    { reason: error.code, message: error.message, tone: "warning" },
    (isExpired || error.code === "TEXT_SEARCH_UNAVAILABLE") && back,
  );
}

/**
 * @param {string} shopId
 * @param {CatalogFilter} filter
 */
function noItems(shopId, filter) {
  const isFiltered = filter.text !== "" || filter.sku !== "" || filter.analysis !== "";
  if (isFiltered) {
    return emptyState(
      { iconName: "search", title: "Nothing found", text: "No item of this shop matches." },
      h("a", { class: "button button-secondary", href: links.catalog(shopId) }, "Show all items"),
    );
  }
  return emptyState(
    { iconName: "box", title: "No items yet", text: "The items of the shop appear here with its first sync." },
    h("a", { class: "button button-primary", href: links.shop(shopId) }, "Go to the sync"),
  );
}

/**
 * @param {string} shopId
 * @param {Item} item
 */
function itemCard(shopId, item) {
  return h(
    "article",
    { class: item.delete_time ? "item-card item-deleted" : "item-card" },
    thumbnail(
      { path: itemImagePath(shopId, item), alt: "", size: 192 },
      analysisState(item.analysis),
      qualityBadge(lowestPercent(item.analysis)),
    ),
    h(
      "h3",
      { class: "item-title" },
      h(
        "a",
        { class: "card-link", href: links.item(shopId, item.item_id) },
        item.product_title || item.title || item.item_id,
        item.title !== "" && item.product_title !== "" && h("span", { class: "item-variant" }, item.title),
      ),
    ),
    h("p", { class: "item-price" }, item.price ? formatPrice(item.price) : "No price"),
    h("p", null, stockLabel(item)),
    h("p", { class: "muted small item-sku" }, item.sku === "" ? "No SKU" : item.sku),
  );
}

/** @param {Item} item */
export function stockLabel(item) {
  if (item.delete_time) return h("span", { class: "stock stock-none" }, icon("cross"), "Deleted");
  if (item.stock_quantity === null || item.stock_quantity === undefined)
    return h("span", { class: "stock" }, item.available ? "Available" : "Unavailable");
  if (item.stock_quantity <= 0 && !item.available) return h("span", { class: "stock stock-none" }, "Sold out");
  return h("span", { class: "stock" }, `${formatCount(item.stock_quantity)} in stock`);
}
