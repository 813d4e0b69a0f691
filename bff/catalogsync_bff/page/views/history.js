/** All syncs of a shop. */

import { h } from "../dom.js";
import { emptyState, pager, problemBox, skeletons } from "../parts/basics.js";
import { syncTable } from "../parts/sync_table.js";
import { links } from "../router.js";

/** @typedef {import("../page.js").Page} Page */

const PAGE_SIZE = 25;

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {string} pageToken
 */
export function historyView(page, shopId, pageToken) {
  const { value, error } = page.resources.get(`syncs ${shopId} page ${pageToken}`, () =>
    page.api.listSyncs(shopId, { pageSize: PAGE_SIZE, pageToken }),
  );
  return h(
    "section",
    { class: "card", key: "history", "aria-labelledby": "history-heading" },
    h("div", { class: "card-head" }, h("h2", { id: "history-heading" }, "History")),
    error !== null && problemBox({ reason: error.code, message: error.message, tone: "warning" }),
    value === null && error === null && skeletons(6, "skeleton-line"),
    value !== null && list(page, shopId, pageToken, value),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {string} pageToken
 * @param {import("../data/api.js").Page<import("../data/types.js").Sync>} value
 */
function list(page, shopId, pageToken, value) {
  if (value.records.length === 0) {
    return emptyState(
      {
        iconName: "clock",
        title: "No syncs yet",
        text: "Every sync of this shop is listed here with its result.",
      },
      h("a", { class: "button button-primary", href: links.shop(shopId) }, "Go to the overview"),
    );
  }
  const syncs = value.records.map((sync) => page.state.syncs.syncs.get(sync.sync_id) ?? sync);
  return [
    syncTable(page, syncs),
    pager({ page: pageToken, nextPageToken: value.nextPageToken }, (token) => links.history(shopId, token)),
  ];
}
