/** What the client's methods share: names of shops, optional fields, pages. */

import { CatalogError } from "./errors.js";
import type { ShopName } from "./options.js";

/** Returns the ShopRef of a shop, for the requests of `client.rpc`. */
export function shopRef(shop: ShopName): Exclude<ShopName, string> {
  if (typeof shop !== "string") return shop;
  const [platform, domain, more] = shop.split(":");
  if (!platform || !domain || more !== undefined) throw new TypeError(`shop: expected "platform:domain", not "${shop}"`);
  return { platform, domain };
}

/** Yields the records of one page after the other. */
export async function* pages<T>(
  read: (pageToken: string) => Promise<[records: T[], nextPageToken: string]>,
): AsyncGenerator<T, void> {
  let token = "";
  do {
    const [records, next] = await read(token);
    yield* records;
    token = next;
  } while (token);
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Returns the fields that are not undefined: in a message that would mean something else than absent. */
export function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/** Returns a message that the contract promises. */
export function required<T>(message: T | undefined): T {
  if (message === undefined) throw new CatalogError("the response is incomplete", { code: "INTERNAL" });
  return message;
}
