/**
 * The address of a view: the part of the URL after "#", such as "#/shops/ID/catalog?text=shirt".
 *
 * @typedef {{name: "shops"} | {name: "shop", shopId: string} | {name: "history", shopId: string, page: string}
 *   | {name: "sync", shopId: string, syncId: string, page: string} | {name: "settings", shopId: string}
 *   | {name: "catalog", shopId: string, filter: CatalogFilter} | {name: "item", shopId: string, itemId: string}
 *   | {name: "product", shopId: string, productId: string} | {name: "unknown"}} Route
 * @typedef {{text: string, sku: string, deleted: boolean, analysis: string, page: string}} CatalogFilter
 */

import { withQuery } from "./data/api.js";

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  const parameters = new URLSearchParams(query);
  if (parts.length === 0) return { name: "shops" };
  const [first, shopId, view, id] = parts;
  if (first !== "shops") return { name: "unknown" };
  if (shopId === undefined) return { name: "shops" };
  if (view === undefined) return { name: "shop", shopId };
  const page = parameters.get("page") ?? "";
  if (view === "syncs")
    return id === undefined ? { name: "history", shopId, page } : { name: "sync", shopId, syncId: id, page };
  if (view === "settings") return { name: "settings", shopId };
  if (view === "catalog") return { name: "catalog", shopId, filter: parseFilter(parameters) };
  if (view === "items" && id !== undefined) return { name: "item", shopId, itemId: id };
  if (view === "products" && id !== undefined) return { name: "product", shopId, productId: id };
  return { name: "unknown" };
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * @param {URLSearchParams} parameters
 * @returns {CatalogFilter}
 */
function parseFilter(parameters) {
  return {
    text: parameters.get("text") ?? "",
    sku: parameters.get("sku") ?? "",
    deleted: parameters.get("deleted") === "1",
    analysis: parameters.get("analysis") ?? "",
    page: parameters.get("page") ?? "",
  };
}

export const links = {
  shops: () => "#/",
  /** @param {string} shopId */
  shop: (shopId) => `#/shops/${encodeURIComponent(shopId)}`,
  /** @param {string} shopId @param {string} [page] */
  history: (shopId, page = "") => withQuery(`${links.shop(shopId)}/syncs`, { page }),
  /** @param {string} shopId @param {string} syncId @param {string} [page] */
  sync: (shopId, syncId, page = "") =>
    withQuery(`${links.shop(shopId)}/syncs/${encodeURIComponent(syncId)}`, { page }),
  /** @param {string} shopId */
  settings: (shopId) => `${links.shop(shopId)}/settings`,
  /** @param {string} shopId @param {Partial<CatalogFilter>} [filter] */
  catalog: (shopId, { text = "", sku = "", deleted = false, analysis = "", page = "" } = {}) =>
    withQuery(`${links.shop(shopId)}/catalog`, { text, sku, deleted: deleted ? "1" : "", analysis, page }),
  /** @param {string} shopId @param {string} itemId */
  item: (shopId, itemId) => `${links.shop(shopId)}/items/${encodeURIComponent(itemId)}`,
  /** @param {string} shopId @param {string} productId */
  product: (shopId, productId) => `${links.shop(shopId)}/products/${encodeURIComponent(productId)}`,
};
