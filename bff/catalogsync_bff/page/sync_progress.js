/**
 * What the page says about the progress of a sync. It never says more than the sync does:
 *
 * - Only SUCCEEDED is complete: a running sync shows at most 99 %.
 * - An estimate that was exceeded is not used.
 * - An error is shown only once the sync has FAILED: until then it waits, and continues by itself.
 */

import { countOf, formatCount, formatDateTime, formatEstimate, formatUntil } from "./format.js";
import { explainWaiting } from "./words.js";

/** @typedef {import("./data/types.js").Progress} Progress */
/** @typedef {import("./data/types.js").Sync} Sync */

/**
 * The part of a sync that is done.
 *
 * @typedef {{done: number, total: number | null, noun: string}} Amount
 */

/**
 * Return how much was read, in items if their number is estimated, otherwise in products.
 *
 * @param {Progress} progress
 * @returns {Amount}
 */
export function amountDone(progress) {
  const items = progress.items.seen_count + progress.items.rejected_count;
  const products = progress.products.seen_count + progress.products.rejected_count;
  const itemTotal = usableTotal(progress.estimated_item_count, items);
  if (itemTotal !== null) return { done: items, total: itemTotal, noun: "item" };
  const productTotal = usableTotal(progress.estimated_product_count, products);
  if (productTotal !== null) return { done: products, total: productTotal, noun: "product" };
  return { done: items, total: null, noun: "item" };
}

/**
 * @param {number | null} estimate
 * @param {number} done
 */
function usableTotal(estimate, done) {
  return estimate !== null && estimate > 0 && done <= estimate ? estimate : null;
}

/**
 * Return the percentage to show, or null if it is not known.
 *
 * @param {Sync} sync
 */
export function percentDone(sync) {
  if (sync.state === "SUCCEEDED") return 100;
  if (sync.state === "PENDING") return null;
  const job = sync.waiting?.reason === "PLATFORM_JOB" ? sync.waiting : null;
  const { done, total } = job
    ? { done: job.done_count ?? 0, total: usableTotal(job.total_count, job.done_count ?? 0) }
    : amountDone(sync.progress);
  return total === null ? null : Math.min(99, Math.floor((100 * done) / total));
}

/**
 * Return what the progress bar means: "1,200 of 5,000 items".
 *
 * @param {Sync} sync
 */
export function progressText(sync) {
  if (sync.state === "PENDING") return queueText(sync);
  if (sync.waiting?.reason === "PLATFORM_JOB" && sync.waiting.done_count) return jobText(sync.waiting);
  const { done, total, noun } = amountDone(sync.progress);
  if (sync.state === "SUCCEEDED") return countOf(done, noun);
  if (total !== null) return `${formatCount(done)} of ${countOf(total, noun)}`;
  const checked = sync.progress.checked_product_count;
  if (done === 0 && checked > 0) return `${countOf(checked, "product")} checked`;
  return done === 0 ? "Reading the first products" : `${countOf(done, noun)} so far`;
}

/** @param {{done_count: number | null, total_count: number | null}} job */
function jobText(job) {
  const done = job.done_count ?? 0;
  const total = usableTotal(job.total_count, done);
  return total === null
    ? `${countOf(done, "record")} prepared`
    : `${formatCount(done)} of ${countOf(total, "record")} prepared`;
}

/** @param {Sync} sync */
function queueText(sync) {
  const ahead = sync.queue_position ?? 0;
  if (ahead >= 1000) return "Queued: 1,000 or more syncs are ahead";
  if (ahead === 0) return "Queued: it is next";
  return ahead === 1 ? "Queued: 1 sync is ahead" : `Queued: ${formatCount(ahead)} syncs are ahead`;
}

/**
 * Return the time left in words, or "" if it is not known.
 *
 * @param {Sync} sync
 * @param {number} now Milliseconds.
 */
export function timeLeftText(sync, now) {
  const end = sync.progress.estimated_end_time;
  if (sync.state !== "RUNNING" || sync.waiting || !end) return "";
  const { done, total } = amountDone(sync.progress);
  if (total !== null && done >= total) return "Finishing";
  const seconds = (Date.parse(end) - now) / 1000;
  return seconds <= 0 ? "" : `${formatEstimate(seconds)} left`;
}

/**
 * Return what a running sync waits for and until when, or "".
 *
 * @param {Sync} sync
 * @param {number} now Milliseconds.
 */
export function waitingText(sync, now) {
  if (sync.state !== "RUNNING" || !sync.waiting) return "";
  const reason = explainWaiting(sync.waiting);
  const resume = sync.waiting.resume_time;
  if (!resume || sync.waiting.reason === "PLATFORM_JOB") return `${reason}.`;
  return Date.parse(resume) > now ? `${reason}. Continues ${formatUntil(resume, now)}.` : `${reason}.`;
}

/**
 * Return the result of an ended sync in a sentence, which explains a sync that found nothing.
 *
 * @param {Sync} sync
 */
export function resultText(sync) {
  const { products } = sync.progress;
  const parts = changedCounts(sync);
  if (sync.state === "SUCCEEDED" && parts.length === 0) return nothingChangedText(sync);
  if (sync.state === "SUCCEEDED") return `${sentence(parts)}.`;
  const read = products.seen_count;
  if (read === 0) return "It ended before anything was read.";
  const begin = `${countOf(read, "product")} ${read === 1 ? "was" : "were"} read before it ended`;
  return parts.length === 0
    ? `${begin}; nothing had changed.`
    : `${begin}: ${sentence(parts)}. What was stored stays.`;
}

/** @param {Sync} sync */
function nothingChangedText(sync) {
  const { products, items } = sync.progress;
  const read = products.seen_count;
  if (items.rejected_count + products.rejected_count > 0) return "Nothing was stored: see the issues.";
  if (sync.mode === "INCREMENTAL" && sync.changes_since_time) {
    const checked = sync.progress.checked_product_count;
    const also = checked > 0 ? ` ${countOf(checked, "product")} checked.` : "";
    return `Nothing changed since ${formatDateTime(sync.changes_since_time)}.${also}`;
  }
  if (read === 0) return "The shop has no products.";
  return read === 1
    ? "The only product was compared; nothing changed."
    : `All ${countOf(read, "product")} compared; nothing changed.`;
}

/** @param {Sync} sync */
function changedCounts(sync) {
  const { products, items } = sync.progress;
  const counted =
    hasChanges(products) || !hasChanges(items)
      ? { counts: products, noun: "product" }
      : { counts: items, noun: "item" };
  const { counts, noun } = counted;
  /** @type {[number, string][]} */
  const changes = [
    [counts.created_count, "new"],
    [counts.updated_count, "changed"],
    [counts.deleted_count, "deleted"],
  ];
  const found = changes.filter(([count]) => count > 0);
  return found.map(
    ([count, verb], index) => (index === 0 ? countOf(count, noun) : formatCount(count)) + ` ${verb}`,
  );
}

/** @param {{created_count: number, updated_count: number, deleted_count: number}} counts */
function hasChanges(counts) {
  return counts.created_count + counts.updated_count + counts.deleted_count > 0;
}

/** @param {string[]} parts */
function sentence(parts) {
  return parts.join(", ");
}
