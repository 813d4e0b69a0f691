/** Parses addresses of the catalog, in the forms that gRPC's clients accept. */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** A host and port from an address. */
export interface Target {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** One address of a target. */
export interface ResolvedTarget extends Target {
  /** An IP address, or "localhost". */
  readonly ip: string;
}

/**
 * Returns the targets of an address.
 *
 * @param address - "host:port"; several ones separated by commas; also with a prefix of gRPC ("dns:///catalog:50051",
 *   "ipv4:10.0.0.1:50051,10.0.0.2:50051").
 */
export function parseAddress(address: string): Target[] {
  return address
    .replace(/^(dns:\/\/\/|dns:|ipv4:|ipv6:)/, "")
    .split(",")
    .map((part) => {
      const match = /^(?:\[([0-9a-fA-F:]+)\]|([^\s:/@[\]]+)):(\d{1,5})$/.exec(part.trim());
      const host = match?.[1] ?? match?.[2];
      if (!match || !host || Number(match[3]) > 65_535) throw new TypeError(`address: expected host:port, not "${part}"`);
      return { host, port: Number(match[3]) };
    });
}

/** Returns "host:port" with brackets around an IPv6 address. */
export function formatTarget(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Returns whether a target is this machine. */
export function isLoopback({ host }: Target): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Returns every address of the targets: a name of a headless service has one for each replica. */
export async function resolve(targets: readonly Target[]): Promise<ResolvedTarget[]> {
  const found = await Promise.all(
    targets.map(async (target) => {
      // "localhost" is one server with two addresses, at one of which it listens: Node tries both.
      if (isIP(target.host) || isLoopback(target)) return [{ ...target, ip: target.host }];
      const addresses = await lookup(target.host, { all: true });
      return addresses.map(({ address }) => ({ ...target, ip: address }));
    }),
  );
  return found.flat();
}
