/** The error of every failed call, decoded from the details of its gRPC status. */

import { Code, ConnectError } from "@connectrpc/connect";

import type { Sync } from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import type { ErrorReason } from "./gen/catalogsync/errors/v1/error_reason_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";

const DOMAIN = "catalogsync";

/** A name of ErrorReason. A later release of the service may send others. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED"> | (string & {});

/** An invalid field of a request. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

interface Details {
  readonly code: string;
  readonly reason?: Reason;
  readonly retryAfterMs?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly sync?: Sync;
  readonly cause?: unknown;
}

/** A call that failed, or a watch that cannot continue. */
export class CatalogError extends Error {
  override readonly name = "CatalogError";
  /** gRPC's name of the status code: "NOT_FOUND", "UNAVAILABLE". A broken connection is UNAVAILABLE. */
  readonly code: string;
  /** Why, as a name of ErrorReason: "SYNC_NOT_FOUND"; empty if the service did not answer (network, proxy, deadline). */
  readonly reason: Reason;
  /** When to call again, in milliseconds; undefined: the service did not say so. */
  readonly retryAfterMs: number | undefined;
  /** Ids and limits that belong to the reason, such as `sync_id`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The invalid fields of the request. */
  readonly fieldViolations: readonly FieldViolation[];
  /** The sync that FAILED or was CANCELLED, of syncAndWait; undefined for a failed call. */
  readonly sync: Sync | undefined;

  constructor(message: string, details: Details) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.reason = details.reason ?? "";
    this.retryAfterMs = details.retryAfterMs;
    this.metadata = details.metadata ?? {};
    this.fieldViolations = details.fieldViolations ?? [];
    this.sync = details.sync;
  }

  /** Whether calling again is right: the service said so, or the connection broke. */
  get isTransient(): boolean {
    if (this.sync) return false;
    return this.retryAfterMs !== undefined || this.code === "UNAVAILABLE" || this.code === "CANCELLED";
  }

  /** Returns the error of an exception that a transport has thrown. */
  static from(thrown: unknown): CatalogError {
    if (thrown instanceof CatalogError) return thrown;
    const error = ConnectError.from(thrown);
    const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    const violations = error.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations);
    const broken = error.details.length === 0 && isConnectionError(error);
    return new CatalogError(error.rawMessage, {
      code: broken ? "UNAVAILABLE" : codeName(error.code),
      reason: info?.reason ?? "",
      retryAfterMs: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
      metadata: { ...info?.metadata },
      fieldViolations: violations.map(({ field, description }) => ({ field, description })),
      cause: error,
    });
  }

  /** Returns the error of a sync that has not SUCCEEDED. */
  static ofSync(sync: Sync): CatalogError {
    const { syncId, error: status } = sync;
    if (!status) {
      return new CatalogError(`sync ${syncId} was cancelled`, { code: "CANCELLED", metadata: { sync_id: syncId }, sync });
    }
    const received = new ConnectError(status.message, status.code);
    received.details = status.details.map(({ typeUrl, value }) => ({
      type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
    const error = CatalogError.from(received);
    return new CatalogError(error.message, { ...error, sync });
  }
}

/** Returns gRPC's name of a status code. */
export function codeName(code: Code): string {
  if (code === Code.Canceled) return "CANCELLED";
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/**
 * Returns whether no status came from the service: Connect reports a lost connection, a refused certificate and an
 * incomplete response as ABORTED, INTERNAL or UNKNOWN, where gRPC's own clients say UNAVAILABLE.
 */
function isConnectionError(error: ConnectError): boolean {
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    // Node's errors of sockets, TLS and HTTP/2 have a code of letters.
    if ("code" in cause && typeof cause.code === "string") return true;
  }
  return /^(http\/2 |PING timed out|protocol error: missing )/.test(error.rawMessage);
}
