/** States and reasons of the contract in plain words, with what to do about them. Unknown ones have a general text. */

/** @typedef {import("./data/types.js").Connection} Connection */
/** @typedef {import("./data/types.js").Sync} Sync */
/** @typedef {import("./data/types.js").SyncError} SyncError */

const PLATFORM_NAMES = new Map([
  ["shopify", "Shopify"],
  ["woocommerce", "WooCommerce"],
  ["bigcommerce", "BigCommerce"],
  ["feed", "Product feed"],
]);

/** @param {string} platform */
export function platformName(platform) {
  return PLATFORM_NAMES.get(platform) ?? platform.charAt(0).toUpperCase() + platform.slice(1);
}

/** @param {{display_name: string, domain: string}} shop */
export function shopName(shop) {
  return shop.display_name || shop.domain;
}

/**
 * By reason: what is wrong, and what a person does about it.
 *
 * @type {Map<string, {problem: string, advice: string}>}
 */
const REASONS = new Map(
  Object.entries({
    CREDENTIALS_NOT_FOUND: {
      problem: "The shop is not connected.",
      advice: "Connect it on your platform's page for connections, then start a sync.",
    },
    SOURCE_UNAUTHORIZED: {
      problem: "The shop no longer accepts our access.",
      advice: "Connect the shop again: the app was removed, or its access token was replaced.",
    },
    SOURCE_FORBIDDEN: {
      problem: "Our access lacks a permission.",
      advice: "Connect the shop again and accept all permissions that are asked for.",
    },
    SOURCE_NOT_FOUND: {
      problem: "There is no shop at this address.",
      advice: "Check that the shop is open, that its address is right, and that its API is switched on.",
    },
    SOURCE_REDIRECTED: {
      problem: "The shop has moved to another address.",
      advice: "Connect the shop under its new address.",
    },
    SOURCE_RESPONSE_INVALID: {
      problem: "The shop answered with a web page instead of its products.",
      advice: "Check for a maintenance page, a password page or a firewall in front of the shop.",
    },
    SOURCE_QUERY_REFUSED: {
      problem: "The shop does not answer our query as its platform documents.",
      advice: "Update the shop's software or plugins, or ask your support.",
    },
    SOURCE_ADDRESS_FORBIDDEN: {
      problem: "The shop's address leads into a private network.",
      advice: "Check the shop's domain.",
    },
    SOURCE_UNREACHABLE: {
      problem: "The shop could not be reached.",
      advice: "Nothing has to be done if the shop works again: the next sync tries it.",
    },
    SOURCE_RATE_LIMITED: {
      problem: "The platform asked for a long pause.",
      advice: "Start the sync again later.",
    },
    TOKEN_SERVICE_UNAVAILABLE: {
      problem: "The shop's access could not be looked up.",
      advice: "Start the sync again later.",
    },
    CONNECTOR_UNAVAILABLE: {
      problem: "The service that reads shops was not available.",
      advice: "Start the sync again later.",
    },
    SOURCE_INCOMPLETE: {
      problem: "The shop's answer broke off.",
      advice: "Resume the sync.",
    },
    SOURCE_COUNT_MISMATCH: {
      problem: "The shop delivered another number of products than it counts.",
      advice: "Start a full sync. If it happens again, ask your support.",
    },
    SYNC_STALLED: {
      problem: "The sync made no progress in several attempts.",
      advice: "Resume the sync. If it happens again, ask your support.",
    },
    SOURCE_CURRENCY_CHANGED: {
      problem: "The shop's currency changed during the sync.",
      advice: "Start a full sync.",
    },
    CHECKPOINT_EXPIRED: {
      problem: "The sync cannot continue where it stopped.",
      advice: "Start a full sync.",
    },
    MASS_DELETE_BLOCKED: {
      problem: "Unusually many products are missing in the shop.",
      advice: "They were kept. Check the shop; if the products were deleted on purpose, allow the deletion.",
    },
    STORAGE_UNAVAILABLE: {
      problem: "The catalog's database is not available.",
      advice: "Nothing is lost. Try again in a moment.",
    },
    TEXT_SEARCH_UNAVAILABLE: {
      problem: "Search by name is not set up here.",
      advice: "Search for the exact SKU instead.",
    },
    SYNC_NOT_RESUMABLE: {
      problem: "This sync cannot be resumed.",
      advice: "Start a new sync.",
    },
    SYNC_NOT_CANCELLABLE: {
      problem: "The sync has ended already.",
      advice: "",
    },
    RATE_LIMITED: {
      problem: "Too many requests.",
      advice: "Wait a moment and try again.",
    },
    PERMISSION_DENIED: {
      problem: "You may look at this shop, but not change it.",
      advice: "Ask the owner of the account.",
    },
    IMAGE_NOT_FOUND: {
      problem: "There is no image at its address.",
      advice: "Upload the image in the shop again.",
    },
    DOWNLOAD_FAILED: {
      problem: "The image could not be loaded.",
      advice: "Check that the image can be opened in the shop.",
    },
    ADDRESS_FORBIDDEN: {
      problem: "The image is not at a public address.",
      advice: "Upload the image in the shop itself.",
    },
    IMAGE_UNREADABLE: {
      problem: "The file is not an image that can be read.",
      advice: "Replace it in the shop, for example by a JPEG or a PNG.",
    },
    IMAGE_TOO_LARGE: {
      problem: "The image is too large to be analyzed.",
      advice: "Replace it in the shop by a smaller one.",
    },
    LEASE_EXPIRED: {
      problem: "The analysis broke off each time.",
      advice: "Ask your support to queue it again.",
    },
    TIMED_OUT: {
      problem: "The analysis took too long.",
      advice: "A smaller image may help.",
    },
    CATALOG_UNAVAILABLE: {
      problem: "The catalog service does not answer.",
      advice: "This page tries again by itself.",
    },
    CATALOG_TIMEOUT: {
      problem: "The catalog service is slow.",
      advice: "This page tries again by itself.",
    },
    NO_ANSWER: {
      problem: "The server does not answer.",
      advice: "Check your connection; this page tries again by itself.",
    },
  }),
);

/**
 * Return what is wrong and what to do about it.
 *
 * @param {string} reason
 * @param {string} message The text that the server sent.
 */
export function explainReason(reason, message) {
  return (
    REASONS.get(reason) ?? {
      problem: message || "Something went wrong.",
      advice: "Try again. If it happens again, ask your support.",
    }
  );
}

/** What a running sync waits for. @type {Map<string, string>} */
const WAITING_TEXTS = new Map([
  ["THROTTLED", "The platform asked for a pause"],
  ["PLATFORM_JOB", "The platform is preparing an export of the products"],
  ["SOURCE_UNREACHABLE", "The shop does not answer; it is tried again"],
  ["TOKEN_SERVICE", "The shop's access is being looked up again"],
  ["CONNECTOR", "The service that reads shops does not answer; it is tried again"],
  ["STORAGE", "The database is busy; the last step is repeated"],
]);

/**
 * Return what a sync waits for in plain words, without a full stop.
 *
 * @param {{reason: string, message: string}} waiting
 */
export function explainWaiting(waiting) {
  return WAITING_TEXTS.get(waiting.reason) ?? (waiting.message.replace(/\.$/, "") || "Waiting");
}

/** @type {Map<string, string>} */
const ISSUE_TEXTS = new Map([
  ["MISSING_ID", "Has no id"],
  ["MISSING_FIELD", "A required field is missing"],
  ["INVALID_FIELD", "A field has an unusable value"],
  ["INVALID_PRICE", "The price is not a number of zero or more"],
  ["TOO_LARGE", "Is too large to store"],
  ["DUPLICATE_ID", "The id occurs twice; the first one was kept"],
  ["ORPHAN_VARIANT", "Belongs to a product that does not list it"],
  ["INCOMPLETE_VARIANTS", "The platform left out some variants"],
  ["SOURCE_ERROR", "The platform reported an error instead of it"],
]);

/** @param {string} reason */
export function issueText(reason) {
  return ISSUE_TEXTS.get(reason) ?? "Could not be stored as delivered";
}

/** @param {Sync} sync */
export function modeText(sync) {
  return sync.mode === "INCREMENTAL" ? "Changes only" : "Full";
}

/** @param {Sync} sync */
export function triggerText(sync) {
  if (sync.trigger === "SCHEDULE") return "by schedule";
  if (sync.trigger === "RESUME") return "resumed";
  return "on request";
}

/**
 * Return the state of a sync in one or two words, and the tone in which it is shown.
 *
 * @param {Sync} sync
 * @returns {{text: string, tone: "neutral" | "active" | "good" | "warning" | "bad"}}
 */
export function stateText(sync) {
  if (sync.state === "SUCCEEDED") return { text: "Succeeded", tone: "good" };
  if (sync.state === "FAILED") return { text: "Failed", tone: "bad" };
  if (sync.state === "CANCELLED") return { text: "Cancelled", tone: "neutral" };
  if (sync.state === "PENDING") return { text: "Queued", tone: "active" };
  return sync.waiting ? { text: "Waiting", tone: "warning" } : { text: "Running", tone: "active" };
}

/**
 * Return the state of a shop's connection.
 *
 * @param {Connection | null} connection
 * @returns {{text: string, tone: "neutral" | "active" | "good" | "warning" | "bad"}}
 */
export function connectionText(connection) {
  if (connection?.state === "HEALTHY") return { text: "Connected", tone: "good" };
  if (connection?.state === "FAILING") return { text: "Last sync failed", tone: "warning" };
  if (connection?.state === "BROKEN") return { text: "Needs attention", tone: "bad" };
  return { text: "Not synced yet", tone: "neutral" };
}
