/** A question in a modal dialog. */

import { h, render } from "../dom.js";

/**
 * Ask the user, and return whether he agreed. The dialog is closed by its buttons and by Escape; the browser moves the
 * focus into it and back.
 *
 * @param {{title: string, text: string, agree: string, decline: string}} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, agree, decline }) {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "dialog-title");
  render(
    dialog,
    h("h2", { id: "dialog-title" }, title),
    h("p", null, text),
    h(
      "div",
      { class: "button-row" },
      h(
        "button",
        { class: "button button-secondary", type: "button", autofocus: true, onclick: () => dialog.close("") },
        decline,
      ),
      h("button", { class: "button button-danger", type: "button", onclick: () => dialog.close("agreed") }, agree),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "agreed");
    });
  });
}
