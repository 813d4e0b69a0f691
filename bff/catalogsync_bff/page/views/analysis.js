/** What analyzers found in the images of a shop: the filter of the catalog, the findings of one image, and the counts. */

import { h } from "../dom.js";
import { formatCount, formatDateTime, formatNumber } from "../format.js";
import { capitalize, factList, problemBox, skeletons } from "../parts/basics.js";
import { gradeOf, percentOf, qualityBadge } from "../parts/quality.js";
import { links } from "../router.js";
import { explainReason } from "../words.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Item} Item */
/** @typedef {import("../data/types.js").Status} Status */
/** @typedef {import("../data/types.js").ImageAnalysis} ImageAnalysis */
/** @typedef {import("../data/types.js").AnalysisResult} AnalysisResult */
/** @typedef {{name: string, score: string | number, weight?: string | number, measured?: unknown}} Component */

/**
 * Links to the items in each state; null while no analyzer is switched on.
 *
 * @param {Page} page
 * @param {string} shopId
 * @param {import("../router.js").CatalogFilter} filter
 */
export function analysisFilter({ state }, shopId, filter) {
  const status = state.statuses.get(shopId);
  const isOn = status ? status.analysis : state.shops.get(shopId)?.analyzers?.length;
  if (!isOn && filter.analysis === "") return null;
  /** @type {[string, string, number | undefined][]} */
  const choices = [
    ["", "All", undefined],
    ["ANALYZED", "Analyzed", status?.analysis?.analyzed_item_count],
    ["PENDING", "Pending", status?.analysis?.pending_item_count],
    ["FAILED", "Failed", status?.analysis?.failed_item_count],
    ["NOT_APPLICABLE", "No image", undefined],
  ];
  return h(
    "nav",
    { class: "filter-links", key: "analysis", "aria-label": "Image analysis" },
    h("span", { class: "muted", "aria-hidden": "true" }, "Image analysis"),
    choices.map(([value, label, count]) =>
      h(
        "a",
        {
          class: "filter-link",
          key: label,
          href: links.catalog(shopId, { analysis: value }),
          "aria-current": filter.analysis === value ? "true" : null,
        },
        count === undefined ? label : `${label} (${formatCount(count)})`,
      ),
    ),
  );
}

/**
 * How many items were analyzed, as a fact; false while no analyzer is switched on.
 *
 * @param {Status} status
 * @returns {[string, import("../dom.js").Child[]] | false}
 */
export function analysisFact({ analysis, shop }) {
  if (!analysis) return false;
  const { pending_item_count: pending, analyzed_item_count: analyzed, failed_item_count: failed } = analysis;
  const link = links.catalog(shop.shop_id, { analysis: "FAILED" });
  return [
    "Images analyzed",
    [
      `${formatCount(analyzed)} of ${formatCount(analyzed + pending + failed)}`,
      failed > 0 && ", ",
      failed > 0 && h("a", { href: link, key: "failed" }, `${formatCount(failed)} failed`),
    ],
  ];
}

/**
 * Score, findings and failures of the image of an item; null while no analyzer is switched on.
 *
 * @param {Page} page
 * @param {string} shopId
 * @param {Item} item
 */
export function analysisSection(page, shopId, item) {
  if (!item.analysis) return null;
  const { value, error } = page.resources.get(`analysis ${shopId} ${item.item_id}`, () =>
    page.api.get(`/shops/${shopId}/items/${encodeURIComponent(item.item_id)}/analysis`),
  );
  const content = () => {
    if (value !== null) return findings(value.analyses);
    if (error === null) return skeletons(3, "skeleton-line");
    return problemBox({ reason: error.code, message: error.message, tone: "warning" });
  };
  return h(
    "section",
    { class: "card", key: "analysis", "aria-labelledby": "analysis-heading" },
    h("h2", { id: "analysis-heading" }, "Image analysis"),
    content(),
  );
}

/** @param {ImageAnalysis[]} analyses */
function findings(analyses) {
  if (analyses.length === 0) return h("p", { class: "muted" }, "There is no image.");
  return analyses.map((analysis) =>
    h(
      "div",
      { class: "finding", key: analysis.analyzer },
      h("h3", null, words(analysis.analyzer)),
      analysis.result && score(analysis.result),
      progress(analysis),
      analysis.result && [
        analysis.result.description !== "" && h("p", { key: "description" }, analysis.result.description),
        componentTable(componentsOf(analysis.result)),
        resultFacts(analysis.result, analysis.analyze_time),
      ],
    ),
  );
}

/** @param {AnalysisResult} result */
function score({ quality_score: quality }) {
  const percent = percentOf(quality);
  const { text } = gradeOf(percent);
  return h(
    "p",
    { class: "finding-score", key: "score" },
    qualityBadge(percent),
    h("span", { "aria-hidden": "true" }, `of 100, ${text}`),
  );
}

/** What is still to come, or why nothing will. @param {ImageAnalysis} analysis */
function progress({ state, failure, attempt_count: attempts }) {
  if (state === "ANALYZED") return null;
  if (state === "FAILED")
    return problemBox({ reason: failure?.reason ?? "", message: failure?.message ?? "", tone: "warning" });
  const failed = failure && `Attempt ${attempts} failed: ${explainReason(failure.reason, failure.message).problem}`;
  return h("p", { class: "muted", key: "progress" }, "Waiting for the analysis. ", failed);
}

/** @param {AnalysisResult} result @returns {Component[]} */
function componentsOf({ attributes }) {
  const found = attributes?.components;
  return Array.isArray(found) ? found.filter((one) => typeof one?.name === "string") : [];
}

/** @param {Component[]} components */
function componentTable(components) {
  if (components.length === 0) return null;
  return h(
    "table",
    { class: "table component-table", key: "components" },
    h("caption", { class: "visually-hidden" }, "What the score consists of"),
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", { scope: "col" }, "Why"),
        h("th", { scope: "col", class: "cell-number" }, "Measured"),
        h("th", { scope: "col", class: "cell-number" }, "Score"),
        h("th", { scope: "col", class: "cell-number" }, "Weight"),
      ),
    ),
    h(
      "tbody",
      null,
      components.map((one) =>
        h(
          "tr",
          { key: one.name },
          h("th", { scope: "row" }, words(one.name)),
          h("td", { class: "cell-number" }, plain(one.measured)),
          h("td", { class: "cell-number" }, one.score === undefined ? "–" : String(percentOf(one.score))),
          h("td", { class: "cell-number" }, one.weight === undefined ? "–" : `${percentOf(one.weight)} %`),
        ),
      ),
    ),
  );
}

/**
 * @param {AnalysisResult} result
 * @param {string | null} time
 */
function resultFacts(result, time) {
  const { width, height, duplicate_of: duplicate } = result.attributes ?? {};
  return factList([
    Boolean(width && height) && ["Size", `${formatCount(width)} × ${formatCount(height)} px`],
    Boolean(duplicate) && ["Similar image", "Another image of the shop looks the same"],
    result.category !== "" && ["Category", [result.category, result.subcategory].filter(Boolean).join(" / ")],
    result.gender !== "" && ["Gender", result.gender],
    ["Confidence", `${percentOf(result.confidence_score)} %`],
    Boolean(time) && ["Analyzed", formatDateTime(time ?? "")],
  ]);
}

/** Return a name of a program as words: "image-quality" as "Image quality". @param {string} name */
function words(name) {
  return capitalize(name.replace(/[-_]+/g, " "));
}

/** @param {unknown} value */
function plain(value) {
  if (typeof value === "number") return formatNumber(value);
  return typeof value === "string" ? value : "–";
}
