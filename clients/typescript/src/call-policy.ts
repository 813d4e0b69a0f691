/** Deadlines and retries of each method, from the service config that all clients of the catalog share. */

import { SERVICE_CONFIG } from "./gen/service_config.js";

/** How often and when a failed call is made again. */
export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly multiplier: number;
  /** gRPC's names of the status codes after which the call is made again. */
  readonly codes: ReadonlySet<string>;
}

/** The deadline and the retries of a method. */
export interface CallPolicy {
  /** Of all attempts together; undefined: none. */
  readonly timeoutMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
}

interface MethodConfig {
  readonly name: readonly { readonly service: string; readonly method: string }[];
  readonly timeout?: string;
  readonly retryPolicy?: {
    readonly maxAttempts: number;
    readonly initialBackoff: string;
    readonly maxBackoff: string;
    readonly backoffMultiplier: number;
    readonly retryableStatusCodes: readonly string[];
  };
}

/** After a rate of failures the client stops repeating calls: https://github.com/grpc/proposal/blob/master/A6-client-retries.md */
export const RETRY_THROTTLING: { readonly maxTokens: number; readonly tokenRatio: number } =
  SERVICE_CONFIG.retryThrottling;

const METHOD_CONFIGS: readonly MethodConfig[] = SERVICE_CONFIG.methodConfig;

/**
 * Returns the policy of a method of CatalogService or AnalysisService, whose methods have different names.
 *
 * @param method - its name in the contract, "GetSync".
 */
export function policyOf(method: string): CallPolicy {
  const config = METHOD_CONFIGS.find(({ name }) => name.some((each) => each.method === method));
  const retry = config?.retryPolicy;
  return {
    timeoutMs: config?.timeout === undefined ? undefined : milliseconds(config.timeout),
    retry: retry && {
      maxAttempts: retry.maxAttempts,
      initialBackoffMs: milliseconds(retry.initialBackoff),
      maxBackoffMs: milliseconds(retry.maxBackoff),
      multiplier: retry.backoffMultiplier,
      codes: new Set(retry.retryableStatusCodes),
    },
  };
}

/**
 * Returns the time until the next attempt: what the service asked for, and full jitter.
 *
 * @param attempts - how many attempts have failed in a row, from 1.
 * @param retryAfterMs - of the error of the last attempt.
 */
export function backoffMs(policy: RetryPolicy, attempts: number, retryAfterMs = 0): number {
  const ceiling = Math.min(policy.initialBackoffMs * policy.multiplier ** (attempts - 1), policy.maxBackoffMs);
  return retryAfterMs + Math.random() * ceiling;
}

/** Returns the milliseconds of a duration such as "0.5s". */
function milliseconds(duration: string): number {
  return Number.parseFloat(duration) * 1000;
}
