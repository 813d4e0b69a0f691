/** Calls the HTTP API of the BFF, and turns its envelopes into values and errors. */

import { completeSync } from "./sync_store.js";

const BASE = "/api/v1/catalog";
const TIMEOUT_MILLISECONDS = 20_000;

/** An answer with an error, or no answer. */
export class ApiError extends Error {
  /**
   * @param {string} code The reason, such as "SHOP_NOT_FOUND"; "NO_ANSWER" if the server did not answer.
   * @param {string} message
   * @param {{status?: number, details?: Record<string, any>}} [more]
   */
  constructor(code, message, { status = 0, details = {} } = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

/**
 * An answer of a list.
 *
 * @template T
 * @typedef {{records: T[], nextPageToken: string}} Page
 */

export class Api {
  /** @param {() => void} onSignedOut Called when the server no longer knows the session. */
  constructor(onSignedOut) {
    this.onSignedOut = onSignedOut;
  }

  /**
   * Return `data` of a call below /api/v1/catalog.
   *
   * @param {string} path
   * @param {Record<string, string | number | boolean | null | undefined>} [query]
   * @returns {Promise<any>}
   */
  async get(path, query = {}) {
    return (await this.call("GET", withQuery(BASE + path, query))).data;
  }

  /**
   * Return a page of a list below /api/v1/catalog.
   *
   * @param {string} path
   * @param {Record<string, string | number | boolean | null | undefined>} [query]
   * @returns {Promise<Page<any>>}
   */
  async list(path, query = {}) {
    const envelope = await this.call("GET", withQuery(BASE + path, query));
    return { records: envelope.data ?? [], nextPageToken: envelope.pagination?.next_page_token ?? "" };
  }

  /**
   * Return a page of the syncs of a shop, the newest first.
   *
   * @param {string} shopId
   * @param {{pageSize: number, pageToken?: string}} position
   * @returns {Promise<Page<import("./types.js").Sync>>}
   */
  async listSyncs(shopId, { pageSize, pageToken = "" }) {
    const page = await this.list("/sync", { shop_id: shopId, page_size: pageSize, page_token: pageToken });
    return { ...page, records: page.records.map(completeSync) };
  }

  /**
   * Change something below /api/v1/catalog. A call that got no answer is repeated once with the same key, so that it has
   * its effect once.
   *
   * @param {"POST" | "PATCH"} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async send(method, path, body = {}) {
    const headers = { "Idempotency-Key": randomUuid() };
    try {
      return (await this.call(method, BASE + path, { body, headers })).data;
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "NO_ANSWER") throw error;
      return (await this.call(method, BASE + path, { body, headers })).data;
    }
  }

  /** Return the session, or throw an ApiError with the code UNAUTHENTICATED. */
  async session() {
    return (await this.call("GET", "/session", { reportSignedOut: false })).data;
  }

  /** Begin a session of the development login. */
  async signInForDevelopment() {
    await this.call("POST", "/session/dev", { body: {}, reportSignedOut: false });
  }

  /** End the session. */
  async signOut() {
    await this.call("DELETE", "/session", { reportSignedOut: false });
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {{body?: object, headers?: Record<string, string>, reportSignedOut?: boolean}} [options]
   * @returns {Promise<any>} The envelope.
   */
  async call(method, url, { body, headers = {}, reportSignedOut = true } = {}) {
    const response = await exchange(method, url, body, headers);
    const envelope = await parse(response);
    if (response.ok) return envelope;
    const error = envelope.error ?? {};
    const code = error.code ?? (response.status === 401 ? "UNAUTHENTICATED" : `HTTP_${response.status}`);
    if (response.status === 401 && reportSignedOut) this.onSignedOut();
    throw new ApiError(code, error.message ?? `The server answered ${response.status}.`, {
      status: response.status,
      details: error.details ?? {},
    });
  }
}

/**
 * @param {string} method
 * @param {string} url
 * @param {object | undefined} body
 * @param {Record<string, string>} headers
 */
async function exchange(method, url, body, headers) {
  try {
    return await fetch(url, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      headers: {
        Accept: "application/json",
        "X-Requested-With": "catalogsync",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS),
    });
  } catch {
    throw new ApiError("NO_ANSWER", "The server does not answer.");
  }
}

/** @param {Response} response */
async function parse(response) {
  try {
    const text = await response.text();
    return text === "" ? {} : JSON.parse(text);
  } catch {
    if (response.ok) throw new ApiError("NO_ANSWER", "The server sent an incomplete answer.");
    return {};
  }
}

/**
 * @param {string} url
 * @param {Record<string, string | number | boolean | null | undefined>} query
 */
export function withQuery(url, query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined && value !== false)
      parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text === "" ? url : `${url}?${text}`;
}

/** Return a random UUID; crypto.randomUUID exists in secure contexts only. */
function randomUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
