/** One item, or one product with its items. */

import { h } from "../dom.js";
import { formatDateTime, formatPrice, webUrl } from "../format.js";
import { emptyState, factList, problemBox, skeletons } from "../parts/basics.js";
import { icon } from "../parts/icons.js";
import { lowestPercent } from "../parts/quality.js";
import { itemImagePath, productImagePath, thumbnail } from "../parts/thumbnail.js";
import { links } from "../router.js";
import { analysisSection } from "./analysis.js";
import { stockLabel } from "./catalog.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Item} Item */
/** @typedef {import("../data/types.js").Product} Product */

/**
 * @param {Page} page
 * @param {{shopId: string, itemId: string}} route
 */
export function itemView(page, { shopId, itemId }) {
  const { value: item, error } = page.resources.get(`item ${shopId} ${itemId}`, () =>
    page.api.get(`/shops/${shopId}/items/${encodeURIComponent(itemId)}`),
  );
  if (error !== null && item === null) return missing(shopId, error);
  if (item === null) return h("div", { class: "card", key: "loading" }, skeletons(6, "skeleton-line"));
  const product = page.resources.get(`product ${shopId} ${item.product_id}`, () =>
    page.api.get(`/shops/${shopId}/products/${encodeURIComponent(item.product_id)}`),
  ).value;
  return h(
    "div",
    { class: "stack", key: `item ${itemId}` },
    h(
      "article",
      { class: "card item-detail" },
      thumbnail({ path: itemImagePath(shopId, item), alt: item.product_title, size: 480 }),
      h("div", null, heading(item), price(item), itemFacts(item), productLink(item.product_url)),
    ),
    analysisSection(page, shopId, item),
    product && variants(shopId, product, itemId),
    product && description(product),
  );
}

/**
 * @param {Page} page
 * @param {{shopId: string, productId: string}} route
 */
export function productView(page, { shopId, productId }) {
  const { value: product, error } = page.resources.get(`product ${shopId} ${productId}`, () =>
    page.api.get(`/shops/${shopId}/products/${encodeURIComponent(productId)}`),
  );
  if (error !== null && product === null) return missing(shopId, error);
  if (product === null) return h("div", { class: "card", key: "loading" }, skeletons(6, "skeleton-line"));
  const withImage = product.items.find((/** @type {Item} */ one) => one.analysis && one.analysis.state !== "NOT_APPLICABLE");
  return h(
    "div",
    { class: "stack", key: `product ${productId}` },
    h(
      "article",
      { class: "card item-detail" },
      thumbnail({ path: productImagePath(shopId, product), alt: product.title, size: 480 }),
      h(
        "div",
        null,
        h("h2", null, product.title || product.product_id),
        product.delete_time &&
          h(
            "p",
            { class: "stock stock-none" },
            `Deleted in the shop, noticed ${formatDateTime(product.delete_time)}`,
          ),
        factList([
          ["Product id", h("code", null, product.product_id)],
          Boolean(product.vendor) && ["Brand", product.vendor],
          Boolean(product.product_type) && ["Type", product.product_type],
          product.tags.length > 0 && ["Tags", product.tags.join(", ")],
        ]),
        productLink(product.url),
      ),
    ),
    withImage && analysisSection(page, shopId, withImage),
    variants(shopId, product, ""),
    description(product),
  );
}

/** @param {Item} item */
function heading(item) {
  return [
    h("h2", { key: "title" }, item.product_title || item.title || item.item_id),
    item.title !== "" && h("p", { class: "item-variant-large", key: "variant" }, item.title),
    item.delete_time &&
      h(
        "p",
        { class: "stock stock-none", key: "deleted" },
        `Deleted in the shop, noticed ${formatDateTime(item.delete_time)}`,
      ),
  ];
}

/** @param {Item} item */
function price(item) {
  return h(
    "p",
    { class: "item-price-large" },
    item.price ? formatPrice(item.price) : "No price",
    item.compare_at_price &&
      h(
        "s",
        { class: "muted" },
        h("span", { class: "visually-hidden" }, "before "),
        formatPrice(item.compare_at_price),
      ),
    stockLabel(item),
  );
}

/** @param {Item} item */
function itemFacts(item) {
  return factList([
    ["SKU", item.sku === "" ? "None" : h("code", null, item.sku)],
    item.barcode !== "" && ["Barcode", h("code", null, item.barcode)],
    ...item.options.map((option) => /** @type {[string, string]} */ ([option.name, option.value])),
    item.vendor !== "" && ["Brand", item.vendor],
    item.product_type !== "" && ["Type", item.product_type],
    item.weight !== "" && Number(item.weight) > 0 && ["Weight", `${item.weight} ${item.weight_unit}`],
    item.sellable_without_stock && ["Sold beyond stock", "yes"],
    Boolean(item.source_update_time) && ["Changed in the shop", formatDateTime(item.source_update_time ?? "")],
    Boolean(item.update_time) && ["Stored", formatDateTime(item.update_time ?? "")],
  ]);
}

/** @param {string} url */
function productLink(url) {
  const safe = webUrl(url);
  return (
    safe &&
    h(
      "p",
      null,
      h("a", { href: safe, target: "_blank", rel: "noopener noreferrer" }, "Open in the shop ", icon("external")),
    )
  );
}

/**
 * @param {string} shopId
 * @param {Product} product
 * @param {string} itemId The item that is shown already.
 */
function variants(shopId, product, itemId) {
  const others = product.items.filter((item) => item.item_id !== itemId);
  if (others.length === 0) return null;
  const isAnalyzed = others.some((item) => item.analysis);
  return h(
    "section",
    { class: "card", key: "variants", "aria-labelledby": "variants-heading" },
    h("h2", { id: "variants-heading" }, itemId === "" ? "Items" : "Other variants"),
    h(
      "table",
      { class: "table" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "Variant"),
          h("th", { scope: "col", class: "cell-number" }, "Price"),
          h("th", { scope: "col", class: "cell-number" }, "Stock"),
          isAnalyzed && h("th", { scope: "col", class: "cell-number" }, "Image quality"),
        ),
      ),
      h(
        "tbody",
        null,
        others.map((item) =>
          h(
            "tr",
            { key: item.item_id },
            h(
              "td",
              null,
              h("a", { href: links.item(shopId, item.item_id) }, item.title || item.sku || item.item_id),
            ),
            h("td", { class: "cell-number" }, item.price ? formatPrice(item.price) : "–"),
            h("td", { class: "cell-number" }, stockLabel(item)),
            isAnalyzed && h("td", { class: "cell-number" }, String(lowestPercent(item.analysis) ?? "–")),
          ),
        ),
      ),
    ),
  );
}

/** @param {Product} product */
function description(product) {
  // Parsed without being shown: no script runs, and no image is loaded.
  const text =
    new DOMParser().parseFromString(product.description_html ?? "", "text/html").body.textContent?.trim() ?? "";
  return (
    text &&
    h(
      "section",
      { class: "card", key: "description", "aria-labelledby": "description-heading" },
      h("h2", { id: "description-heading" }, "Description"),
      h("p", { class: "description" }, text),
    )
  );
}

/**
 * @param {string} shopId
 * @param {import("../data/api.js").ApiError} error
 */
function missing(shopId, error) {
  if (error.code !== "ITEM_NOT_FOUND" && error.code !== "PRODUCT_NOT_FOUND")
    return problemBox({ reason: error.code, message: error.message, tone: "warning" });
  return emptyState(
    {
      iconName: "box",
      title: "It is not in the catalog",
      text: "It was deleted some time ago, or was never stored.",
    },
    h("a", { class: "button button-secondary", href: links.catalog(shopId) }, "Show all items"),
  );
}
