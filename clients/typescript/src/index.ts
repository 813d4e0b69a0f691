/** A client of catalogsync's CatalogService and AnalysisService for Node. Start with `createCatalogClient`. */

export {
  type Analysis,
  type AnalysisWorkerOptions,
  runAnalysisWorker,
  TaskFailedError,
  type TaskEnd,
} from "./analysis-worker.js";
export * from "./catalog-client.js";
export type { TokenProvider } from "./credentials.js";
export { CatalogError, type FieldViolation, type Reason } from "./errors.js";
export * from "./gen/catalogsync/catalog/v1/analysis_pb.js";
export * from "./gen/catalogsync/catalog/v1/analysis_service_pb.js";
export * from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
export { ErrorReason } from "./gen/catalogsync/errors/v1/error_reason_pb.js";
export { IssueReason } from "./gen/catalogsync/errors/v1/issue_reason_pb.js";
export { type Money, ProductStatus } from "./gen/catalogsync/types/v1/product_pb.js";
export type * from "./options.js";
export type { TlsOptions } from "./replica.js";
export { shopRef } from "./requests.js";
export type { ConnectionEvent, WatchOptions } from "./resuming-stream.js";

// Messages have bigint fields, which JSON.stringify refuses: toJson(SyncSchema, sync).
export { create, toJson } from "@bufbuild/protobuf";
export { timestampDate } from "@bufbuild/protobuf/wkt";
