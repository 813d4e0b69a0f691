/** The sync of a shop: the active one with its progress, otherwise the last one with its result; and what can be done. */

import { h } from "../dom.js";
import { countOf, formatCount, formatDuration, formatRate } from "../format.js";
import { links } from "../router.js";
import { percentDone, progressText, resultText, timeLeftText, waitingText } from "../sync_progress.js";
import { modeText, stateText, triggerText } from "../words.js";
import { ago, button, emptyState, pill, problemBox, skeletons } from "./basics.js";
import { confirm } from "./confirm.js";
import { icon } from "./icons.js";
import { progressBar } from "./progress_bar.js";
import { rateChart } from "./rate_chart.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Sync} Sync */

/**
 * @param {Page} page
 * @param {string} shopId
 */
export function syncPanel(page, shopId) {
  const { state } = page;
  const active = state.syncs.active(shopId);
  const last = state.syncs.lastEnded(shopId);
  const isKnown = state.statuses.has(shopId) || active !== null || last !== null;
  return h(
    "section",
    { class: "card sync-panel", "aria-labelledby": "sync-heading" },
    h("h2", { id: "sync-heading", class: "visually-hidden" }, "Sync"),
    !isKnown && skeletons(3, "skeleton-line"),
    isKnown && active !== null && activeSync(page, active, last),
    isKnown && active === null && last !== null && endedSync(page, last),
    isKnown && active === null && last === null && neverSynced(page, shopId),
    actionError(page, shopId),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 * @param {Sync | null} last The sync that ended before it.
 */
function activeSync(page, sync, last) {
  const { now, stateTime, isStale } = page.state;
  return h(
    "div",
    { key: sync.sync_id, class: "sync-active" },
    h(
      "div",
      { class: "sync-head" },
      pill(stateText(sync)),
      h(
        "span",
        { class: "muted" },
        `${modeText(sync)} sync, ${triggerText(sync)}, started `,
        ago(sync.start_time ?? sync.create_time, now),
      ),
      cancelButton(page, sync),
    ),
    progressFigures(page, sync),
    progressBar(sync, { now: stateTime, isStale, label: "Sync progress" }),
    h("p", { class: "sync-waiting" }, sync.waiting && icon("pause"), waitingText(sync, stateTime)),
    countList(sync),
    rateChart(page.state.rates.samples(sync.sync_id)),
    last?.state === "FAILED" &&
      h(
        "p",
        { class: "muted small" },
        "The sync before it failed. ",
        h("a", { href: links.sync(sync.shop.shop_id, last.sync_id) }, "Details"),
      ),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function progressFigures(page, sync) {
  const { now, isStale } = page.state;
  const percent = percentDone(sync);
  const rate = sync.progress.items_per_second;
  const showsRate = !isStale && !sync.waiting && sync.state === "RUNNING" && rate;
  return h(
    "div",
    { class: "sync-figures" },
    h("span", { class: "sync-percent" }, percent === null ? "–" : `${percent} %`),
    h("span", { class: "sync-amount" }, progressText(sync)),
    h("span", { class: "sync-rate" }, showsRate ? `${formatRate(rate)} items/s` : ""),
    h("span", { class: "sync-left" }, isStale ? "" : timeLeftText(sync, now)),
  );
}

/** @param {Sync} sync */
function countList(sync) {
  const { products, issue_count: issueCount } = sync.progress;
  /** @type {[string, number][]} */
  const counts = [
    ["New", products.created_count],
    ["Changed", products.updated_count],
    ["Unchanged", products.unchanged_count],
    ["Deleted", products.deleted_count],
    ["Issues", issueCount],
  ];
  return h(
    "dl",
    { class: "count-list", "aria-label": "Products so far" },
    counts.map(([name, count]) => h("div", { key: name }, h("dt", null, name), h("dd", null, formatCount(count)))),
  );
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function endedSync(page, sync) {
  const { now, isStale } = page.state;
  const shopId = sync.shop.shop_id;
  const failed = sync.state === "FAILED" && sync.error;
  return h(
    "div",
    { key: sync.sync_id, class: "sync-ended" },
    h(
      "div",
      { class: "sync-head" },
      pill(stateText(sync)),
      h(
        "span",
        { class: "muted" },
        `${modeText(sync)} sync, ended `,
        ago(sync.end_time ?? sync.create_time, now),
        durationText(sync),
      ),
      h("a", { class: "sync-details", href: links.sync(shopId, sync.sync_id) }, "Details"),
    ),
    sync.state === "SUCCEEDED" && progressBar(sync, { now, isStale, label: "Sync progress" }),
    h("p", { class: "sync-result" }, resultText(sync)),
    sync.progress.issue_count > 0 &&
      h(
        "p",
        null,
        h("a", { href: links.sync(shopId, sync.sync_id) }, countOf(sync.progress.issue_count, "issue")),
        " to look at.",
      ),
    failed && problemBox(failed, massDeleteButton(page, sync)),
    h("div", { class: "button-row" }, startButtons(page, shopId, sync)),
  );
}

/** @param {Sync} sync */
function durationText(sync) {
  if (!sync.start_time || !sync.end_time) return "";
  return `, took ${formatDuration((Date.parse(sync.end_time) - Date.parse(sync.start_time)) / 1000)}`;
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function neverSynced(page, shopId) {
  return emptyState(
    {
      iconName: "sync",
      title: "Not synced yet",
      text: "The first sync reads every product of the shop. You can watch it here.",
    },
    startButton(page, shopId, "Start the first sync"),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {Sync} last
 */
function startButtons(page, shopId, last) {
  const attempt = page.actions.attempt(shopId);
  const isBusy = attempt?.isRunning ?? false;
  const isResumable =
    (last.state === "FAILED" || last.state === "CANCELLED") && last.progress.products.seen_count > 0;
  return [
    isResumable &&
      button(isBusy && attempt?.name === "resume" ? "Resuming …" : "Resume", {
        kind: "primary",
        key: "resume",
        isBusy,
        onclick: () => page.actions.resumeSync(last),
      }),
    startButton(page, shopId, "Sync now", isResumable ? "secondary" : "primary"),
    button(isBusy && attempt?.name === "full" ? "Starting …" : "Full sync", {
      key: "full",
      isBusy,
      onclick: () => page.actions.startSync(shopId, "FULL"),
    }),
  ];
}

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {string} label
 * @param {"primary" | "secondary"} [kind]
 */
function startButton(page, shopId, label, kind = "primary") {
  const attempt = page.actions.attempt(shopId);
  const isBusy = attempt?.isRunning ?? false;
  return button(isBusy && attempt?.name === "start" ? "Starting …" : label, {
    kind,
    key: "start",
    isBusy,
    onclick: () => page.actions.startSync(shopId, null),
  });
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function cancelButton(page, sync) {
  const attempt = page.actions.attempt(sync.shop.shop_id);
  const isBusy = attempt?.isRunning ?? false;
  return button(isBusy && attempt?.name === "cancel" ? "Cancelling …" : "Cancel", {
    key: "cancel",
    isBusy,
    onclick: () => page.actions.cancelSync(sync),
  });
}

/**
 * @param {Page} page
 * @param {Sync} sync
 */
function massDeleteButton(page, sync) {
  if (sync.error?.reason !== "MASS_DELETE_BLOCKED") return null;
  const count = Number(sync.error.metadata?.would_delete ?? 0);
  return button("Allow the deletion", {
    kind: "danger",
    key: "allow",
    onclick: () => allowMassDelete(page, sync.shop.shop_id, count),
  });
}

/**
 * @param {Page} page
 * @param {string} shopId
 * @param {number} count
 */
async function allowMassDelete(page, shopId, count) {
  const what = count > 0 ? countOf(count, "product") : "the missing products";
  const agreed = await confirm({
    title: "Delete the missing products?",
    text: `A full sync is started that may mark ${what} as deleted in the catalog. The shop itself is not changed.`,
    agree: "Start and delete",
    decline: "Keep them",
  });
  if (agreed) await page.actions.startSync(shopId, "FULL", { allowMassDelete: true });
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function actionError(page, shopId) {
  const attempt = page.actions.attempt(shopId);
  if (!attempt?.error || attempt.name === "save") return null;
  return problemBox({
    reason: attempt.error.code,
    message: attempt.error.message,
    tone: "warning",
    key: "action-error",
  });
}
