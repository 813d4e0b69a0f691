/** A shop at a glance: its sync, its catalog, and its last syncs. */

import { h } from "../dom.js";
import { formatCount, formatDateTime, formatInterval, formatUntil } from "../format.js";
import { ago, factList, skeletons } from "../parts/basics.js";
import { syncPanel } from "../parts/sync_panel.js";
import { syncTable } from "../parts/sync_table.js";
import { links } from "../router.js";
import { analysisFact } from "./analysis.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Status} Status */

const RECENT_SYNCS = 5;

/**
 * @param {Page} page
 * @param {string} shopId
 */
export function overviewView(page, shopId) {
  return h(
    "div",
    { class: "overview", key: "overview" },
    h("div", { class: "overview-main" }, syncPanel(page, shopId), recentSyncs(page, shopId)),
    h("div", { class: "overview-side" }, catalogFacts(page, shopId)),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function recentSyncs(page, shopId) {
  const { value } = page.resources.get(`syncs ${shopId} recent`, () =>
    page.api.listSyncs(shopId, { pageSize: RECENT_SYNCS }),
  );
  const syncs = (value?.records ?? []).map((sync) => page.state.syncs.syncs.get(sync.sync_id) ?? sync);
  if (value !== null && syncs.length === 0) return null;
  return h(
    "section",
    { class: "card", "aria-labelledby": "recent-heading" },
    h(
      "div",
      { class: "card-head" },
      h("h2", { id: "recent-heading" }, "Last syncs"),
      h("a", { href: links.history(shopId) }, "All syncs"),
    ),
    value === null ? skeletons(3, "skeleton-line") : syncTable(page, syncs),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function catalogFacts(page, shopId) {
  const status = page.state.statuses.get(shopId);
  return h(
    "section",
    { class: "card", "aria-labelledby": "catalog-heading" },
    h(
      "div",
      { class: "card-head" },
      h("h2", { id: "catalog-heading" }, "Catalog"),
      h("a", { href: links.catalog(shopId) }, "Browse"),
    ),
    status === undefined ? skeletons(5, "skeleton-line") : [figures(status), facts(page, status), notes(status)],
  );
}

/** @param {Status} status */
function figures(status) {
  return h(
    "dl",
    { class: "shop-counts", key: "figures" },
    h("div", null, h("dt", null, "Products"), h("dd", null, formatCount(status.product_count))),
    h("div", null, h("dt", null, "Items"), h("dd", null, formatCount(status.item_count))),
  );
}

/**
 * @param {Page} page
 * @param {Status} status
 */
function facts({ state }, status) {
  const { now } = state;
  const { schedule, last_audit: audit } = status;
  const withImage =
    status.item_count === 0 ? null : Math.floor((100 * status.item_with_image_count) / status.item_count);
  return factList([
    withImage !== null && ["Items with an image", `${withImage} %`],
    analysisFact(status),
    ["Up to date as of", status.fresh_as_of_time ? ago(status.fresh_as_of_time, now) : "Not synced yet"],
    status.full_as_of_time !== null && ["Fully compared", ago(status.full_as_of_time, now)],
    schedule !== null && [
      "Reads changes",
      schedule.paused ? "paused" : formatInterval(schedule.incremental_interval),
    ],
    schedule !== null && ["Reads everything", schedule.paused ? "paused" : formatInterval(schedule.full_interval)],
    Boolean(schedule?.next_due_time) &&
      !schedule?.paused && [
        "Next sync",
        h(
          "time",
          { datetime: schedule?.next_due_time, title: formatDateTime(schedule?.next_due_time ?? "") },
          formatUntil(schedule?.next_due_time ?? "", now),
        ),
      ],
    audit !== null && [
      "Last verification",
      [
        ago(audit.end_time, now),
        `, ${formatCount(audit.drifted_product_count)} of ${formatCount(audit.checked_product_count)} products were wrong`,
      ],
    ],
  ]);
}

/** @param {Status} status */
function notes(status) {
  if (status.notes.length === 0) return null;
  return h(
    "div",
    { class: "notes", key: "notes" },
    h("h3", null, "What the last sync could not see"),
    h(
      "ul",
      null,
      status.notes.map((note) => h("li", null, note)),
    ),
  );
}
