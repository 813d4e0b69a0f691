/** One sync: what it did, what went wrong, and the records that could not be stored. */

import { h } from "../dom.js";
import { completeSync, hasEnded } from "../data/sync_store.js";
import { countOf, formatCount, formatDateTime, formatDuration } from "../format.js";
import { emptyState, factList, pager, pill, problemBox, skeletons } from "../parts/basics.js";
import { progressBar } from "../parts/progress_bar.js";
import { links } from "../router.js";
import { progressText, resultText, timeLeftText, waitingText } from "../sync_progress.js";
import { issueText, modeText, stateText, triggerText } from "../words.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Issue} Issue */
/** @typedef {import("../data/types.js").Sync} Sync */
/** @typedef {{shopId: string, syncId: string, page: string}} SyncRoute */

const ISSUES_PER_PAGE = 25;

/**
 * @param {Page} page
 * @param {SyncRoute} route
 */
export function syncView(page, { shopId, syncId, page: pageToken }) {
  const loaded = page.resources.get(`syncs ${shopId} one ${syncId}`, async () =>
    completeSync(await page.api.get(`/sync/${syncId}`)),
  );
  const sync = latest(page.state.syncs.syncs.get(syncId) ?? null, loaded.value);
  if (sync === null && loaded.error !== null)
    return problemBox({ reason: loaded.error.code, message: loaded.error.message, tone: "warning" });
  if (sync === null) return h("section", { class: "card", key: "sync-loading" }, skeletons(5, "skeleton-line"));
  return h(
    "div",
    { class: "stack", key: sync.sync_id },
    outcomeCard(page, sync),
    h(
      "section",
      { class: "card", "aria-labelledby": "counts-heading" },
      h("h2", { id: "counts-heading" }, "Counts"),
      countTable(sync),
    ),
    sync.progress.issue_count > 0 && issuesCard(page, sync, pageToken),
  );
}

/**
 * @param {Sync | null} one
 * @param {Sync | null} other
 */
function latest(one, other) {
  if (one === null || other === null) return one ?? other;
  return one.revision >= other.revision ? one : other;
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function outcomeCard(page, sync) {
  const { now, stateTime, isStale } = page.state;
  const isActive = !hasEnded(sync);
  return h(
    "section",
    { class: "card", "aria-labelledby": "outcome-heading" },
    h(
      "div",
      { class: "sync-head" },
      h(
        "h2",
        { id: "outcome-heading" },
        `${modeText(sync)} sync, ${formatDateTime(sync.start_time ?? sync.create_time)}`,
      ),
      pill(stateText(sync)),
    ),
    isActive && progressBar(sync, { now: stateTime, isStale, label: "Sync progress" }),
    h(
      "p",
      { class: "sync-result" },
      isActive ? [progressText(sync), isStale ? "" : ` ${timeLeftText(sync, now)}`] : resultText(sync),
    ),
    isActive && sync.waiting && h("p", { class: "sync-waiting" }, waitingText(sync, stateTime)),
    sync.state === "FAILED" && sync.error && problemBox(sync.error),
    facts(page, sync),
    sync.notes.length > 0 &&
      h(
        "div",
        { class: "notes" },
        h("h3", null, "Notes"),
        h(
          "ul",
          null,
          sync.notes.map((note) => h("li", null, note)),
        ),
      ),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function facts({ state }, sync) {
  const end = sync.end_time ? Date.parse(sync.end_time) : state.stateTime;
  return factList([
    ["Started", triggerText(sync)],
    sync.start_time !== null && [
      sync.end_time ? "Took" : "Runs for",
      formatDuration((end - Date.parse(sync.start_time)) / 1000),
    ],
    sync.changes_since_time !== null && ["Reads changes since", formatDateTime(sync.changes_since_time)],
    sync.progress.checked_product_count > 0 && [
      "Products checked",
      formatCount(sync.progress.checked_product_count),
    ],
    sync.attempt_count > 1 && ["Continued after an interruption", countOf(sync.attempt_count - 1, "time")],
    Boolean(sync.parent_sync_id) && [
      "Resumes",
      h("a", { href: links.sync(sync.shop.shop_id, sync.parent_sync_id) }, "the sync before"),
    ],
    Boolean(sync.correlation_id) && ["Reference for support", h("code", null, sync.correlation_id)],
  ]);
}

/** @param {Sync} sync */
function countTable(sync) {
  const { products, items } = sync.progress;
  /** @type {[string, "seen_count" | "created_count" | "updated_count" | "unchanged_count" | "deleted_count" | "rejected_count"][]} */
  const columns = [
    ["Read", "seen_count"],
    ["New", "created_count"],
    ["Changed", "updated_count"],
    ["Unchanged", "unchanged_count"],
    ["Deleted", "deleted_count"],
    ["Rejected", "rejected_count"],
  ];
  return h(
    "table",
    { class: "table count-table" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", { scope: "col" }, "What"),
        h("th", { scope: "col", class: "cell-number" }, "Products"),
        h("th", { scope: "col", class: "cell-number" }, "Items"),
      ),
    ),
    h(
      "tbody",
      null,
      columns.map(([name, key]) =>
        h(
          "tr",
          { key },
          h("th", { scope: "row" }, name),
          h("td", { class: "cell-number" }, formatCount(products[key])),
          h("td", { class: "cell-number" }, formatCount(items[key])),
        ),
      ),
    ),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 * @param {string} pageToken
 */
function issuesCard(page, sync, pageToken) {
  const shopId = sync.shop.shop_id;
  const { value, error } = page.resources.get(`issues ${sync.sync_id} ${pageToken}`, () =>
    page.api.list(`/sync/${sync.sync_id}/issues`, { page_size: ISSUES_PER_PAGE, page_token: pageToken }),
  );
  return h(
    "section",
    { class: "card", "aria-labelledby": "issues-heading" },
    h("h2", { id: "issues-heading" }, countOf(sync.progress.issue_count, "issue")),
    h(
      "p",
      { class: "muted" },
      "Records that the shop delivered and that could not be stored as they are. Everything else was stored.",
    ),
    error !== null && problemBox({ reason: error.code, message: error.message, tone: "warning" }),
    value === null && error === null && skeletons(4, "skeleton-line"),
    value !== null &&
      value.records.length === 0 &&
      emptyState({
        iconName: "check",
        title: "No issues on this page",
        text: "They may have been counted only a moment ago.",
      }),
    value !== null && value.records.length > 0 && issueTable(shopId, value.records),
    value !== null &&
      pager({ page: pageToken, nextPageToken: value.nextPageToken }, (token) =>
        links.sync(shopId, sync.sync_id, token),
      ),
  );
}

/**
 * @param {string} shopId
 * @param {Issue[]} issues
 */
function issueTable(shopId, issues) {
  return h(
    "table",
    { class: "table issue-table" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", { scope: "col" }, "Record"),
        h("th", { scope: "col" }, "What is wrong"),
        h("th", { scope: "col" }, "Value"),
      ),
    ),
    h(
      "tbody",
      null,
      issues.map((issue) => issueRow(shopId, issue)),
    ),
  );
}

/**
 * @param {string} shopId
 * @param {Issue} issue
 */
function issueRow(shopId, issue) {
  const product =
    issue.product_id === ""
      ? "No id"
      : issue.product_rejected
        ? `Product ${issue.product_id}`
        : h("a", { href: links.product(shopId, issue.product_id) }, `Product ${issue.product_id}`);
  return h(
    "tr",
    { key: issue.number },
    h(
      "td",
      { class: "cell-record" },
      product,
      issue.item_id !== "" && h("div", { class: "muted small" }, `Item ${issue.item_id}`),
      issue.product_rejected && h("div", { class: "muted small" }, "not stored"),
    ),
    h(
      "td",
      null,
      issueText(issue.reason),
      issue.field !== "" && h("div", { class: "small" }, "Field ", h("code", null, issue.field)),
      h("div", { class: "muted small" }, issue.message),
    ),
    h("td", { class: "cell-sample" }, issue.sample === "" ? "–" : h("code", null, issue.sample)),
  );
}
