/** The name and the schedule of a shop. */

import { h } from "../dom.js";
import { formatInterval } from "../format.js";
import { button, capitalize, problemBox } from "../parts/basics.js";

/** @typedef {import("../page.js").Page} Page */
/** @typedef {import("../data/types.js").Schedule} Schedule */

const INCREMENTAL_CHOICES = [0, 300, 900, 1800, 3600, 21_600, 43_200, 86_400];
const FULL_CHOICES = [0, 86_400, 7 * 86_400, 30 * 86_400];

/**
 * @param {Page} page
 * @param {string} shopId
 */
export function settingsView(page, shopId) {
  const details = page.state.shops.get(shopId);
  const schedule = details?.schedule ?? null;
  const attempt = page.actions.attempt(shopId);
  const isSaving = attempt?.name === "save" && attempt.isRunning;
  return h(
    "form",
    {
      class: "card settings",
      key: "settings",
      "aria-labelledby": "settings-heading",
      onsubmit: submitHandler(page, shopId),
    },
    h("h2", { id: "settings-heading" }, "Settings"),
    h(
      "div",
      { class: "field" },
      h("label", { for: "display-name" }, "Name"),
      h("input", {
        id: "display-name",
        name: "display_name",
        maxlength: 255,
        autocomplete: "off",
        "aria-describedby": "display-name-hint",
        value: details?.shop.display_name ?? "",
      }),
      h("p", { class: "hint", id: "display-name-hint" }, "Leave it empty to use the shop's own name."),
    ),
    schedule && scheduleFields(schedule),
    attempt?.name === "save" &&
      attempt.error &&
      problemBox({ reason: attempt.error.code, message: attempt.error.message, tone: "warning" }),
    h(
      "div",
      { class: "button-row" },
      button(isSaving ? "Saving …" : "Save", { kind: "primary", type: "submit", isBusy: isSaving }),
    ),
  );
}

/** @param {Schedule} schedule */
function scheduleFields(schedule) {
  return h(
    "fieldset",
    null,
    h("legend", null, "Automatic syncs"),
    h(
      "label",
      { class: "checkbox" },
      h("input", { type: "checkbox", name: "paused", checked: schedule.paused }),
      "Paused",
    ),
    intervalField(
      "incremental",
      "Read changes",
      INCREMENTAL_CHOICES,
      schedule.incremental_interval,
      schedule.incremental_is_default,
    ),
    intervalField(
      "full",
      "Read everything and compare",
      FULL_CHOICES,
      schedule.full_interval,
      schedule.full_is_default,
    ),
  );
}

/**
 * @param {"incremental" | "full"} name
 * @param {string} label
 * @param {number[]} choices
 * @param {number | null} interval
 * @param {boolean} isDefault
 */
function intervalField(name, label, choices, interval, isDefault) {
  const present = interval ?? 0;
  const all =
    choices.includes(present) || isDefault ? choices : [...choices, present].sort((one, other) => one - other);
  const usual = isDefault ? `Usual: ${formatInterval(present)}` : "The usual interval";
  return h(
    "div",
    { class: "field" },
    h("label", { for: `${name}-interval` }, label),
    h(
      "select",
      { id: `${name}-interval`, name: `${name}_interval`, value: isDefault ? "default" : String(present) },
      h("option", { value: "default" }, usual),
      all.map((seconds) =>
        h("option", { value: String(seconds), key: seconds }, capitalize(formatInterval(seconds))),
      ),
    ),
  );
}

/**
 * @param {Page} page
 * @param {string} shopId
 */
function submitHandler(page, shopId) {
  return async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const details = page.state.shops.get(shopId);
    /** @type {Record<string, any>} */
    const changes = {};
    const name = String(form.get("display_name") ?? "").trim();
    if (name !== details?.shop.display_name) changes.display_name = name === "" ? null : name;
    if (details?.schedule) {
      changes.paused = form.get("paused") !== null;
      changes.incremental_interval = intervalOf(form.get("incremental_interval"));
      changes.full_interval = intervalOf(form.get("full_interval"));
    }
    const isSaved = await page.actions.changeShop(shopId, changes);
    page.announcer.announce(isSaved ? "Settings saved." : "The settings were not saved.");
  };
}

/** @param {FormDataEntryValue | null} value */
function intervalOf(value) {
  return value === "default" || value === null ? null : Number(value);
}
