/** The bar at the top: the way to the shops, whether the page is live, and the session. */

import { h } from "../dom.js";
import { links } from "../router.js";
import { button } from "./basics.js";

/** @typedef {import("../page.js").Page} Page */

/**
 * @param {Page | null} page
 * @param {() => void} onSignOut
 */
export function topBar(page, onSignOut) {
  return h(
    "div",
    { class: "top-bar-content" },
    h(
      "a",
      { class: "brand", href: links.shops() },
      h("img", { src: "/page/icon.svg", alt: "", width: 28, height: 28 }),
      h("span", null, "Catalog"),
    ),
    page && liveState(page),
    page && h("span", { class: "session-name" }, page.session.name || ""),
    page && button("Sign out", { onclick: onSignOut, key: "sign-out" }),
  );
}

/** @param {Page} page */
function liveState({ state }) {
  const isLive = state.isCaughtUp && !state.isStale;
  const text = isLive ? "Live" : state.isStale ? "Not up to date" : "Connecting";
  return h(
    "span",
    { class: `live-state ${isLive ? "live-state-on" : ""}` },
    h("span", { class: "live-dot", "aria-hidden": "true" }),
    text,
  );
}
