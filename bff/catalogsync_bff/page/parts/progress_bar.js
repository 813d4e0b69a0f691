/** The progress of a sync as a bar: full only for a sync that succeeded, without a value while the total is unknown. */

import { h } from "../dom.js";
import { hasEnded } from "../data/sync_store.js";
import { percentDone, progressText, waitingText } from "../sync_progress.js";

/** @typedef {import("../data/types.js").Sync} Sync */

/**
 * @param {Sync} sync
 * @param {{now: number, isStale: boolean, label: string, isSmall?: boolean}} options
 */
export function progressBar(sync, { now, isStale, label, isSmall = false }) {
  const percent = percentDone(sync);
  const isMoving = !hasEnded(sync) && !isStale && !sync.waiting && sync.state !== "PENDING";
  const classes = [
    "progress",
    isSmall && "progress-small",
    sync.state === "SUCCEEDED" && "progress-done",
    sync.waiting && "progress-waiting",
    percent === null && isMoving && "progress-unknown",
  ];
  const waiting = waitingText(sync, now);
  return h(
    "div",
    {
      class: classes.filter(Boolean).join(" "),
      role: "progressbar",
      "aria-label": label,
      "aria-valuemin": percent === null ? null : "0",
      "aria-valuemax": percent === null ? null : "100",
      "aria-valuenow": percent,
      "aria-valuetext": waiting ? `${progressText(sync)}. ${waiting}` : progressText(sync),
    },
    h("div", { class: "progress-fill", style: { "--done": String((percent ?? 0) / 100) } }),
  );
}
