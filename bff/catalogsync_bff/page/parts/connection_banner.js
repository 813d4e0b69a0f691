/** Says that what is shown may be out of date, since when, and what is done about it. It lies over the page, which does not move. */

import { h } from "../dom.js";
import { formatDuration, formatTimeOfDay } from "../format.js";
import { button } from "./basics.js";
import { icon } from "./icons.js";

/** @typedef {import("../data/catalog_state.js").CatalogState} CatalogState */

/** A connection that is replaced at once is not reported. */
export const BANNER_DELAY_MILLISECONDS = 1000;

/**
 * @param {CatalogState} state
 * @param {() => void} onRetry
 */
export function connectionBanner(state, onRetry) {
  if (state.staleSince === null || state.now - state.staleSince < BANNER_DELAY_MILLISECONDS) return null;
  const isOffline = !navigator.onLine;
  const reason = isOffline
    ? "You are offline."
    : state.stream === "lost"
      ? "The connection is lost."
      : "The catalog service does not answer.";
  return h(
    "div",
    { class: "connection-banner" },
    icon("offline"),
    h("p", null, h("strong", null, reason), ` ${ageText(state)}`),
    !isOffline && button("Try now", { onclick: onRetry }),
  );
}

/** @param {CatalogState} state */
function ageText({ staleSince, now, isCaughtUp }) {
  if (staleSince === null || !isCaughtUp) return "It is tried again every few seconds.";
  const age = formatDuration((now - staleSince) / 1000);
  return `This is the state of ${formatTimeOfDay(staleSince)}, ${age} ago. It is updated as soon as the connection is back.`;
}
