/** The quality of an item's image, from 0 to 100, and how far its analysis is. */

import { h } from "../dom.js";
import { icon } from "./icons.js";

/** @typedef {import("../data/types.js").Item} Item */
/** @typedef {import("../data/types.js").ItemAnalysis} ItemAnalysis */

/** @type {Map<string, {text: string, iconName: "clock" | "alert"}>} */
const STATES = new Map([
  ["PENDING", { text: "pending", iconName: "clock" }],
  ["FAILED", { text: "failed", iconName: "alert" }],
]);

/**
 * Return a score as a whole number from 0 to 100.
 *
 * @param {string | number} score From 0 to 1.
 */
export function percentOf(score) {
  return Math.round(Number(score) * 100);
}

/**
 * Return a score in a word, and the tone in which it is shown.
 *
 * @param {number} percent
 * @returns {{text: string, tone: "good" | "warning" | "bad"}}
 */
export function gradeOf(percent) {
  if (percent >= 70) return { text: "good", tone: "good" };
  return percent >= 40 ? { text: "fair", tone: "warning" } : { text: "poor", tone: "bad" };
}

/**
 * Return the lowest score of an image; null if there is none.
 *
 * @param {ItemAnalysis | null} analysis
 */
export function lowestPercent(analysis) {
  const scores = (analysis?.results ?? []).map((result) => percentOf(result.quality_score));
  return scores.length === 0 ? null : Math.min(...scores);
}

/**
 * A score as a small label. The number says it, and for screen readers a text; the colour is not needed.
 *
 * @param {number | null} percent
 */
export function qualityBadge(percent) {
  if (percent === null) return null;
  const { text, tone } = gradeOf(percent);
  return h(
    "span",
    { class: `quality pill-${tone}`, key: "quality", title: `Image quality ${percent} of 100, ${text}` },
    h("span", { class: "visually-hidden" }, "Image quality "),
    String(percent),
    h("span", { class: "visually-hidden" }, ` of 100, ${text}`),
  );
}

/**
 * The state of an analysis without a current result, as a quiet label on the picture.
 *
 * @param {ItemAnalysis | null} analysis
 */
export function analysisState(analysis) {
  const state = STATES.get(analysis?.state ?? "");
  if (state === undefined) return null;
  return h(
    "span",
    { class: "analysis-state", key: "state", title: `Analysis ${state.text}` },
    icon(state.iconName),
    h("span", { class: "visually-hidden" }, "Analysis "),
    state.text,
  );
}
