/** The token or service secret that is sent with each call. */

import { CatalogError } from "./errors.js";

/** Returns a valid token. It is called for the first call, and again when the token has expired. */
export type TokenProvider = () => string | Promise<string>;

export interface CredentialOptions {
  /** A token of a merchant or an operator, or a function that returns one. */
  readonly token?: string | TokenProvider | undefined;
  /** "NAME:SECRET", for a service that acts for all shops; not together with a token. */
  readonly serviceSecret?: string | undefined;
}

const NOT_SENDABLE = "has characters other than visible ASCII";

/** The headers that authenticate a call. Tokens are kept in private fields, which neither logs nor inspect() show. */
export class Credentials {
  readonly #provider: TokenProvider | undefined;
  readonly #secret: string | undefined;
  #token: Promise<string> | undefined;

  constructor({ token, serviceSecret }: CredentialOptions) {
    if (token && serviceSecret) throw new TypeError("give either a token or a serviceSecret");
    this.#provider = typeof token === "string" ? (token ? () => token : undefined) : token;
    if (serviceSecret && !isSendable(serviceSecret)) throw new TypeError(`serviceSecret: ${NOT_SENDABLE}`);
    this.#secret = serviceSecret;
  }

  /** Whether there is anything to send. */
  get isEmpty(): boolean {
    return !this.#provider && !this.#secret;
  }

  /** Returns the headers of the next call. */
  async headers(): Promise<Record<string, string>> {
    if (this.#secret) return { "x-service-secret": this.#secret };
    const token = await this.#current();
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  /**
   * Gets a fresh token after TOKEN_EXPIRED. Calls that failed at the same time share one call of the provider.
   *
   * @param sent - the headers of the call that failed.
   * @returns whether the next call sends another token.
   */
  async refresh(sent: Record<string, string>): Promise<boolean> {
    const authorization = sent["authorization"];
    if (!this.#provider || !authorization) return false;
    const isSent = (token: string): boolean => `Bearer ${token}` === authorization;
    const expired = this.#token;
    if (isSent(await this.#current()) && this.#token === expired) this.#token = undefined;
    return !isSent(await this.#current());
  }

  #current(): Promise<string> {
    if (!this.#provider) return Promise.resolve("");
    if (!this.#token) {
      const provider = this.#provider;
      const token = callProvider(provider);
      this.#token = token;
      // A provider that failed is called again by the next call.
      token.catch(() => {
        if (this.#token === token) this.#token = undefined;
      });
    }
    return this.#token;
  }
}

/** Returns the provider's token. Its failure counts as transient: a watch calls it again. */
async function callProvider(provider: TokenProvider): Promise<string> {
  let token;
  try {
    token = (await provider()).trim();
  } catch (cause) {
    throw new CatalogError("the token provider failed", { code: "UNAVAILABLE", cause });
  }
  if (token && !isSendable(token)) throw new CatalogError(`the token ${NOT_SENDABLE}`, { code: "UNAUTHENTICATED" });
  return token;
}

/** Returns whether a value can be a header. If it cannot, Node's error message would show it. */
function isSendable(value: string): boolean {
  return /^[\x21-\x7e]+$/.test(value);
}
