/** Syncs as a table: when, what for, and what came of them. */

import { h } from "../dom.js";
import { hasEnded } from "../data/sync_store.js";
import { countOf, formatDateTime, formatDuration } from "../format.js";
import { links } from "../router.js";
import { progressText, resultText, waitingText } from "../sync_progress.js";
import { explainReason, modeText, stateText, triggerText } from "../words.js";
import { pill } from "./basics.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Sync} Sync */

/**
 * @param {Page} page
 * @param {Sync[]} syncs
 */
export function syncTable(page, syncs) {
  return h(
    "table",
    { class: "table sync-table" },
    h(
      "thead",
      null,
      h("tr", null, header("Started"), header("State"), header("Result"), header("Took", "cell-number")),
    ),
    h(
      "tbody",
      null,
      syncs.map((sync) => row(page, sync)),
    ),
  );
}

/**
 * @param {string} text
 * @param {string} [className]
 */
function header(text, className) {
  return h("th", { scope: "col", class: className }, text);
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function row(page, sync) {
  const time = sync.start_time ?? sync.create_time;
  return h(
    "tr",
    { key: sync.sync_id },
    h(
      "td",
      { class: "cell-started" },
      h(
        "a",
        { href: links.sync(sync.shop.shop_id, sync.sync_id) },
        h("time", { datetime: time }, formatDateTime(time)),
      ),
      h("div", { class: "muted small" }, `${modeText(sync)}, ${triggerText(sync)}`),
    ),
    h("td", { class: "cell-state" }, pill(stateText(sync))),
    h("td", { class: "cell-result" }, outcome(page, sync)),
    h("td", { class: "cell-number cell-took" }, took(page, sync)),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function outcome({ state }, sync) {
  if (!hasEnded(sync)) return waitingText(sync, state.stateTime) || progressText(sync);
  const issues =
    sync.progress.issue_count > 0 &&
    h("div", { class: "muted small" }, countOf(sync.progress.issue_count, "issue"));
  if (sync.state === "FAILED" && sync.error)
    return [explainReason(sync.error.reason, sync.error.message).problem, issues];
  return [resultText(sync), issues];
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function took({ state }, sync) {
  if (!sync.start_time) return "–";
  const end = sync.end_time ? Date.parse(sync.end_time) : state.stateTime;
  return formatDuration((end - Date.parse(sync.start_time)) / 1000);
}
