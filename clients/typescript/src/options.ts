/** Options of the client and its methods. */

import type { CredentialOptions } from "./credentials.js";
import type { AnalysisState } from "./gen/catalogsync/catalog/v1/analysis_pb.js";
import type {
  ConnectionHealth_State,
  Sync,
  Sync_Mode,
  Sync_State,
} from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import type { TlsOptions } from "./replica.js";
import type { WatchOptions } from "./resuming-stream.js";

/** Where the catalog is, and who calls. */
export interface CatalogClientOptions extends CredentialOptions {
  /** "host:port", several ones separated by commas, or a name with an address for each replica. */
  readonly address: string;
  /** true: encrypted, verified by the CAs that Node trusts; or the files to use. Without it: plaintext. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** Whether credentials may be sent to another machine without encryption, as behind a proxy that encrypts. */
  readonly allowPlaintextCredentials?: boolean | undefined;
}

/** Names a shop: "shopify:demo.myshopify.com", its platform and domain, or its id. */
export type ShopName = string | { readonly shopId: string } | { readonly platform: string; readonly domain: string };

/** Options of a call that is made for a while, such as for all pages. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface StartOptions extends CallOptions {
  readonly mode?: Sync_Mode | undefined;
  readonly allowMassDelete?: boolean | undefined;
  /** A UUID, to repeat the call in another process; without it one is created for this call and its retries. */
  readonly requestId?: string | undefined;
}

export interface PageOptions extends CallOptions {
  /** Records per call; the service has a default and a limit for each method. */
  readonly pageSize?: number | undefined;
}

export interface ItemFilter extends PageOptions {
  readonly productId?: string | undefined;
  readonly sku?: string | undefined;
  readonly text?: string | undefined;
  readonly includeDeleted?: boolean | undefined;
  /** Only items in this state of analysis; not together with the other filters. */
  readonly analysisState?: AnalysisState | undefined;
}

export interface ProductFilter extends PageOptions {
  readonly text?: string | undefined;
  readonly includeDeleted?: boolean | undefined;
}

export interface ShopFilter extends PageOptions {
  readonly merchantId?: string | undefined;
  readonly platform?: string | undefined;
  readonly connectionState?: ConnectionHealth_State | undefined;
}

export interface SyncFilter extends PageOptions {
  readonly shop?: ShopName | undefined;
  readonly states?: readonly Sync_State[] | undefined;
}

export interface AnalysisFilter extends PageOptions {
  /** Default: ANALYZED. PENDING and FAILED list tasks, by image. */
  readonly state?: AnalysisState | undefined;
  readonly category?: string | undefined;
  /** A decimal from "0" to "1". */
  readonly minQualityScore?: string | undefined;
  readonly maxQualityScore?: string | undefined;
}

export interface DeadTaskFilter extends PageOptions {
  readonly analyzer?: string | undefined;
}

export interface WatchSyncOptions extends WatchOptions {
  /** The last revision that the caller has; default: none. */
  readonly afterRevision?: bigint | undefined;
}

export interface FollowOptions extends WatchOptions {
  /** The position of the last message that the caller has stored; default: from the beginning. */
  readonly afterPosition?: string | undefined;
}

export interface SyncAndWaitOptions extends StartOptions, WatchOptions {
  /** Called with each snapshot, the last one included. */
  readonly onProgress?: ((sync: Sync) => void) | undefined;
}
