/** Small pieces that several views share: pills, times, problems, empty states, skeletons, paging. */

import { h } from "../dom.js";
import { formatAgo, formatDateTime } from "../format.js";
import { explainReason } from "../words.js";
import { icon } from "./icons.js";

/** @typedef {import("../dom.js").VNode} VNode */
/** @typedef {import("../dom.js").Child} Child */
/** @typedef {"neutral" | "active" | "good" | "warning" | "bad"} Tone */

/** @type {Record<Tone, "check" | "alert" | "pause" | "sync" | "clock">} */
const TONE_ICONS = { neutral: "clock", active: "sync", good: "check", warning: "pause", bad: "alert" };

/**
 * A state as a coloured label with an icon, so that the colour is not needed to understand it.
 *
 * @param {{text: string, tone: Tone}} state
 */
export function pill({ text, tone }) {
  return h("span", { class: `pill pill-${tone}` }, icon(TONE_ICONS[tone]), h("span", null, text));
}

/**
 * A time relative to now, with the exact one as its title.
 *
 * @param {string} time RFC 3339.
 * @param {number} now Milliseconds.
 */
export function ago(time, now) {
  return h("time", { datetime: time, title: formatDateTime(time) }, formatAgo(time, now));
}

/**
 * What is wrong, what to do, and the buttons for it.
 *
 * @param {{reason: string, message: string, tone?: "bad" | "warning" | "neutral", key?: string}} problem
 * @param {...Child} actions
 */
export function problemBox({ reason, message, tone = "bad", key = "problem" }, ...actions) {
  const { problem, advice } = explainReason(reason, message);
  const buttons = actions.filter(Boolean);
  return h(
    "div",
    { class: `problem problem-${tone}`, key },
    icon("alert"),
    h(
      "div",
      { class: "problem-text" },
      h("p", { class: "problem-title" }, problem),
      advice && h("p", null, advice),
      message && message !== problem && h("p", { class: "problem-detail" }, capitalize(message)),
      buttons.length > 0 && h("div", { class: "button-row" }, buttons),
    ),
  );
}

/** @param {string} text */
export function capitalize(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * @param {{iconName: Parameters<typeof icon>[0], title: string, text: string}} content
 * @param {...Child} actions
 */
export function emptyState({ iconName, title, text }, ...actions) {
  const buttons = actions.filter(Boolean);
  return h(
    "div",
    { class: "empty-state" },
    h("div", { class: "empty-icon" }, icon(iconName)),
    h("p", { class: "empty-title" }, title),
    h("p", { class: "empty-text" }, text),
    buttons.length > 0 && h("div", { class: "button-row" }, buttons),
  );
}

/**
 * Grey shapes in place of content that is being loaded.
 *
 * @param {number} count
 * @param {string} className
 */
export function skeletons(count, className) {
  return Array.from({ length: count }, () => h("div", { class: `skeleton ${className}`, "aria-hidden": "true" }));
}

/**
 * @param {string} label
 * @param {{onclick?: (event: Event) => void, kind?: "primary" | "secondary" | "danger", isBusy?: boolean,
 *   isDisabled?: boolean, type?: string, key?: string}} [options]
 */
export function button(
  label,
  { onclick, kind = "secondary", isBusy = false, isDisabled = false, type = "button", key } = {},
) {
  return h(
    "button",
    {
      class: `button button-${kind}`,
      type,
      onclick,
      disabled: isDisabled,
      "aria-busy": isBusy ? "true" : null,
      key: key ?? null,
    },
    label,
  );
}

/**
 * Links to the first and the next page of a list.
 *
 * @param {{page: string, nextPageToken: string}} position
 * @param {(page: string) => string} link
 */
export function pager({ page, nextPageToken }, link) {
  if (page === "" && nextPageToken === "") return null;
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    page === ""
      ? h("span", null)
      : h("a", { class: "button button-secondary", href: link("") }, icon("back"), "First page"),
    nextPageToken === ""
      ? h("span", { class: "muted" }, "Last page")
      : h("a", { class: "button button-secondary", href: link(nextPageToken) }, "Next page", icon("chevron")),
  );
}

/**
 * A list of facts.
 *
 * @param {([string, Child | Child[]] | null | false)[]} facts Without those that are null or false.
 */
export function factList(facts) {
  return h(
    "dl",
    { class: "facts" },
    facts.map(
      (fact) => fact && h("div", { class: "fact", key: fact[0] }, h("dt", null, fact[0]), h("dd", null, fact[1])),
    ),
  );
}
