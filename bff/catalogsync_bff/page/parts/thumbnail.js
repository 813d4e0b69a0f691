/** Pictures of products, in the sizes that the BFF makes, with a placeholder of the same size. */

import { h } from "../dom.js";
import { icon } from "./icons.js";

/**
 * @param {{path: string | null, alt: string, size: 96 | 192 | 480}} image path: below /api/v1/catalog; null if there is
 *   no image.
 * @param {...import("../dom.js").Child} children What is shown on it.
 */
export function thumbnail({ path, alt, size }, ...children) {
  return h(
    "div",
    { class: `thumbnail thumbnail-${size}` },
    h("span", { class: "thumbnail-placeholder" }, icon("image")),
    path &&
      h("img", {
        key: path,
        src: `/api/v1/catalog${path}?size=${size}`,
        alt,
        width: size,
        height: size,
        loading: "lazy",
        decoding: "async",
        oncreate: showWhenLoaded,
      }),
    children,
  );
}

/** @param {HTMLImageElement} image */
function showWhenLoaded(image) {
  image.addEventListener("load", () => image.setAttribute("data-loaded", ""));
  // The placeholder stays.
  image.addEventListener("error", () => image.setAttribute("hidden", ""));
}

/** @param {string} shopId @param {{item_id: string, image_url: string}} item */
export function itemImagePath(shopId, item) {
  return item.image_url ? `/shops/${shopId}/items/${encodeURIComponent(item.item_id)}/image` : null;
}

/** @param {string} shopId @param {{product_id: string, images: {url: string}[]}} product */
export function productImagePath(shopId, product) {
  return product.images?.length > 0
    ? `/shops/${shopId}/products/${encodeURIComponent(product.product_id)}/image`
    : null;
}
