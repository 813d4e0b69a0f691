/** Icons as SVG, 20 × 20, in the colour of the text. They are decoration: the text beside them has the meaning. */

import { h } from "../dom.js";

/** @typedef {import("../dom.js").VNode} VNode */

const PATHS = {
  check: ["M4.5 10.5l3.6 3.6 7.4-8"],
  cross: ["M5.5 5.5l9 9", "M14.5 5.5l-9 9"],
  alert: ["M10 6.2v4.6", "M10 13.8v.2", "M10 2.8l7.6 13.4H2.4z"],
  clock: ["M10 5.8V10l2.8 1.8", "M10 2.8a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.4z"],
  pause: ["M7.4 5.5v9", "M12.6 5.5v9"],
  sync: ["M4 9.2A6.2 6.2 0 0 1 15.6 7", "M16 3.6V7.4h-3.8", "M16 10.8A6.2 6.2 0 0 1 4.4 13", "M4 16.4v-3.8h3.8"],
  image: ["M3.5 4.5h13v11h-13z", "M3.5 13l3.7-3.6 3 2.9 2.3-2.1 4 3.6", "M12.7 7.7v.1"],
  chevron: ["M8 5.5l4.5 4.5L8 14.5"],
  back: ["M12 5.5L7.5 10l4.5 4.5"],
  external: ["M11.5 4.5h4v4", "M15.2 4.8L9.5 10.5", "M13.5 11.5v4h-9v-9h4"],
  search: ["M9 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10z", "M12.8 12.8L16 16"],
  store: ["M4 8.5V16h12V8.5", "M3 8.5l1.3-4.5h11.4L17 8.5z", "M8 16v-4h4v4"],
  box: ["M3.5 6.5L10 3l6.5 3.5v7L10 17l-6.5-3.5z", "M3.5 6.5L10 10l6.5-3.5", "M10 10v7"],
  offline: ["M3 8.2a10.4 10.4 0 0 1 14 0", "M5.8 11.2a6.4 6.4 0 0 1 8.4 0", "M10 14.6v.1", "M4 3.5l12 13"],
  lock: ["M5 9h10v7.5H5z", "M7 9V6.8a3 3 0 0 1 6 0V9"],
};

/**
 * @param {keyof typeof PATHS} name
 * @returns {VNode}
 */
export function icon(name) {
  return h(
    "svg",
    { class: "icon", viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
    PATHS[name].map((path) => h("path", { d: path })),
  );
}
