/** The items per second of a running sync over the time that this page has observed it, as an SVG. */

import { h } from "../dom.js";
import { formatDuration, formatRate } from "../format.js";

/** @typedef {import("../data/rate_history.js").Sample} Sample */

const WIDTH = 600;
const HEIGHT = 96;
const MIN_SECONDS = 30;

/** @param {readonly Sample[]} samples */
export function rateChart(samples) {
  const last = samples.at(-1);
  const highest = Math.max(...samples.map((sample) => sample.rate), 0);
  const top = niceCeiling(highest);
  const seconds = Math.max(MIN_SECONDS, last?.seconds ?? 0);
  const label =
    last === undefined
      ? "Items per second: no measurement so far"
      : `Items per second: now ${formatRate(last.rate)}, highest ${formatRate(highest)}, over ${formatDuration(last.seconds)}`;
  return h(
    "figure",
    { class: "rate-chart" },
    h("figcaption", null, "Items per second, since this page was opened"),
    h("div", { class: "rate-chart-top", "aria-hidden": "true" }, highest > 0 ? formatRate(top) : ""),
    h(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      [0, 0.5, 1].map((part) =>
        h("line", { class: "rate-grid", x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part }),
      ),
      samples.length > 1 && h("path", { class: "rate-area", d: area(samples, seconds, top) }),
      samples.length > 1 && h("path", { class: "rate-line", d: line(samples, seconds, top) }),
    ),
    h(
      "div",
      { class: "rate-chart-axis", "aria-hidden": "true" },
      h("span", null, "0 s"),
      h("span", null, formatDuration(seconds)),
    ),
  );
}

/**
 * @param {readonly Sample[]} samples
 * @param {number} seconds
 * @param {number} top
 */
function line(samples, seconds, top) {
  const points = samples.map((sample) => {
    const x = (WIDTH * sample.seconds) / seconds;
    const y = HEIGHT - (HEIGHT * sample.rate) / top;
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}

/**
 * @param {readonly Sample[]} samples
 * @param {number} seconds
 * @param {number} top
 */
function area(samples, seconds, top) {
  const first = (WIDTH * samples[0].seconds) / seconds;
  const last = (WIDTH * samples[samples.length - 1].seconds) / seconds;
  return `${line(samples, seconds, top)}L${last.toFixed(1)} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z`;
}

/**
 * Return the smallest 1, 2, 2.5 or 5 times a power of ten that is not below a value.
 *
 * @param {number} value
 */
function niceCeiling(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((candidate) => candidate >= value) ?? value;
}
