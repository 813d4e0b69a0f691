/** What is shown without a session. */

import { h } from "../dom.js";
import { button, skeletons } from "../parts/basics.js";
import { icon } from "../parts/icons.js";

/**
 * @param {boolean} hasDevelopmentLogin
 * @param {() => void} onSignIn
 */
export function signIn(hasDevelopmentLogin, onSignIn) {
  const text = hasDevelopmentLogin
    ? "This is a demo on your own machine. It needs no password."
    : "Open this page from your platform, which signs you in. A session ends after some hours, or when you sign out.";
  return gate(
    "lock",
    hasDevelopmentLogin ? "Your shops, live" : "You are signed out",
    text,
    hasDevelopmentLogin && button("Open the demo", { kind: "primary", onclick: onSignIn }),
  );
}

export function serverUnavailable() {
  return gate("offline", "The server does not answer", "This page tries again by itself every few seconds.");
}

export function starting() {
  return h(
    "div",
    { class: "view" },
    h("h1", { class: "visually-hidden" }, "Catalog"),
    h("div", { class: "shop-grid" }, skeletons(3, "skeleton-card")),
  );
}

/**
 * @param {"lock" | "offline"} iconName
 * @param {string} title
 * @param {string} text
 * @param {import("../dom.js").Child} [action]
 */
function gate(iconName, title, text, action) {
  return h(
    "div",
    { class: "gate" },
    h("div", { class: "empty-icon" }, icon(iconName)),
    h("h1", { tabindex: "-1" }, title),
    h("p", null, text),
    action,
  );
}
