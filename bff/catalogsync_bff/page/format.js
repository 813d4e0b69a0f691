/** Numbers, times and prices as text for people, in the language of the browser. */

/** @typedef {import("./data/types.js").Money} Money */

const NUMBER = new Intl.NumberFormat();
const MEASURED = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });
const ONE_DIGIT = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const TIME_OF_DAY = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** @param {number} count */
export function formatCount(count) {
  return NUMBER.format(count);
}

/** @param {number} value A measured one: with at most three digits after the point. */
export function formatNumber(value) {
  return MEASURED.format(value);
}

/**
 * Return a count with its noun: "1 product", "1,200 products".
 *
 * @param {number} count
 * @param {string} noun In the singular; its plural ends with "s".
 */
export function countOf(count, noun) {
  return `${NUMBER.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number} rate */
export function formatRate(rate) {
  return rate >= 10 ? NUMBER.format(Math.round(rate)) : ONE_DIGIT.format(rate);
}

/**
 * Return a duration with one or two units: "45 s", "3 min 20 s", "2 h 5 min", "3 days".
 *
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < MINUTE) return `${whole} s`;
  if (whole < 10 * MINUTE) return twoUnits(whole, MINUTE, "min", 1, "s");
  if (whole < HOUR) return `${Math.round(whole / MINUTE)} min`;
  if (whole < DAY) return twoUnits(whole, HOUR, "h", MINUTE, "min");
  return countOf(Math.round(whole / DAY), "day");
}

/**
 * Return a duration in one unit, for what is only estimated: "less than a minute", "about 5 min".
 *
 * @param {number} seconds
 */
export function formatEstimate(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 55 * MINUTE) return `about ${Math.round(seconds / MINUTE)} min`;
  return `about ${ONE_DIGIT.format(seconds / HOUR)} h`;
}

/**
 * @param {number} seconds
 * @param {number} large
 * @param {string} largeName
 * @param {number} small
 * @param {string} smallName
 */
function twoUnits(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  const first = `${Math.floor(seconds / large)} ${largeName}`;
  return rest === 0 ? first : `${first} ${rest} ${smallName}`;
}

/**
 * Return how long ago a time is: "just now", "3 min ago", "2 h ago", "5 days ago".
 *
 * @param {string} time RFC 3339.
 * @param {number} now Milliseconds.
 */
export function formatAgo(time, now) {
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < MINUTE) return "less than a minute ago";
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ago`;
  return `${countOf(Math.floor(seconds / DAY), "day")} ago`;
}

/**
 * Return how far away a time is: "in 3 min"; "now" if it has passed.
 *
 * @param {string} time RFC 3339.
 * @param {number} now Milliseconds.
 */
export function formatUntil(time, now) {
  const seconds = (Date.parse(time) - now) / 1000;
  if (seconds < 1) return "now";
  if (seconds < MINUTE) return `in ${Math.ceil(seconds)} s`;
  if (seconds < HOUR) return `in ${Math.round(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `in ${Math.round(seconds / HOUR)} h`;
  return `in ${countOf(Math.round(seconds / DAY), "day")}`;
}

/** @param {string} time RFC 3339. */
export function formatDateTime(time) {
  return DATE_AND_TIME.format(new Date(time));
}

/** @param {number} milliseconds */
export function formatTimeOfDay(milliseconds) {
  return TIME_OF_DAY.format(new Date(milliseconds));
}

/**
 * Return a price with its currency and with every digit that the shop has stored. The amount stays a decimal string: a
 * number would round long ones.
 *
 * @param {Money} money
 */
export function formatPrice({ amount, currency_code: currency }) {
  const storedDigits = (amount.split(".")[1] ?? "").length;
  try {
    const usual = new Intl.NumberFormat(undefined, { style: "currency", currency });
    const digits = usual.resolvedOptions().maximumFractionDigits ?? 2;
    const exact = new Intl.NumberFormat(undefined, {
      style: "currency",
      currency,
      minimumFractionDigits: digits,
      maximumFractionDigits: Math.min(100, Math.max(digits, storedDigits)),
    });
    return exact.format(/** @type {any} */ (amount));
  } catch {
    // A currency or an amount that the browser does not know: as it is stored.
    return `${amount} ${currency}`.trim();
  }
}

/**
 * Return a number of seconds as an interval: "every 15 minutes", "every day", "never" for 0.
 *
 * @param {number | null} seconds
 */
export function formatInterval(seconds) {
  if (!seconds) return "never";
  /** @type {[number, string][]} */
  const units = [
    [DAY, "day"],
    [HOUR, "hour"],
    [MINUTE, "minute"],
    [1, "second"],
  ];
  const [size, name] = units.find(([unit]) => seconds % unit === 0) ?? [1, "second"];
  const count = seconds / size;
  return count === 1 ? `every ${name}` : `every ${countOf(count, name)}`;
}

/**
 * Return a URL if it is one that a link may lead to, otherwise null: a shop may have stored anything.
 *
 * @param {string} url
 */
export function webUrl(url) {
  try {
    return ["http:", "https:"].includes(new URL(url).protocol) ? url : null;
  } catch {
    return null;
  }
}
