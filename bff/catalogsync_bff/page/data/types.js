/**
 * The records of the API that the page reads: see protos/catalogsync/catalog/v1/catalog_service.proto. Only types.
 *
 * @typedef {{shop_id: string, platform: string, domain: string, display_name: string, currency_code: string}} Shop
 * @typedef {{state: string, reason: string, message: string}} Connection
 * @typedef {{incremental_interval: number | null, full_interval: number | null, incremental_is_default: boolean,
 *   full_is_default: boolean, paused: boolean, next_due_time: string | null}} Schedule
 * @typedef {{shop: Shop, connection: Connection | null, schedule: Schedule | null,
 *   same_store_shop_ids: string[], analyzers?: string[]}} ShopDetails
 * @typedef {{seen_count: number, created_count: number, updated_count: number, unchanged_count: number,
 *   deleted_count: number, rejected_count: number}} RecordCounts
 * @typedef {{products: RecordCounts, items: RecordCounts, estimated_product_count: number | null,
 *   estimated_item_count: number | null, checked_product_count: number, issue_count: number,
 *   items_per_second: number | null, estimated_end_time: string | null}} Progress
 * @typedef {{reason: string, resume_time: string | null, message: string, done_count: number | null,
 *   total_count: number | null}} Waiting
 * @typedef {{code: string, reason: string, message: string, metadata: Record<string, string>}} SyncError
 * @typedef {{sync_id: string, shop: Shop, state: string, mode: string, trigger: string, revision: number,
 *   progress: Progress, waiting: Waiting | null, error: SyncError | null, notes: string[],
 *   changes_since_time: string | null, parent_sync_id: string, attempt_count: number, strategy: string,
 *   served_api_version: string, correlation_id: string, create_time: string, start_time: string | null,
 *   end_time: string | null, update_time: string | null, queue_position: number | null}} Sync
 * @typedef {{end_time: string, checked_product_count: number, checked_item_count: number,
 *   drifted_product_count: number}} AuditSummary
 * @typedef {{shop: Shop, product_count: number, item_count: number, item_with_image_count: number,
 *   fresh_as_of_time: string | null, full_as_of_time: string | null, notes: string[],
 *   last_finished_sync: Sync | null, active_sync: Sync | null, connection: Connection | null,
 *   schedule: Schedule | null, last_audit: AuditSummary | null, analysis: AnalysisCounts | null}} Status
 * @typedef {{pending_item_count: number, analyzed_item_count: number, failed_item_count: number}} AnalysisCounts
 * @typedef {{analyzer: string, category: string, quality_score: string}} AnalysisSummary
 * @typedef {{state: string, results: AnalysisSummary[]}} ItemAnalysis
 * @typedef {{category: string, subcategory: string, description: string, gender: string,
 *   attributes: Record<string, any> | null, quality_score: string, confidence_score: string}} AnalysisResult
 * @typedef {{analyzer: string, state: string, result: AnalysisResult | null, analyze_time: string | null,
 *   failure: {reason: string, message: string} | null, attempt_count: number}} ImageAnalysis
 * @typedef {{number: number, reason: string, product_id: string, item_id: string, product_rejected: boolean,
 *   field: string, message: string, sample: string}} Issue
 * @typedef {{amount: string, currency_code: string}} Money
 * @typedef {{item_id: string, product_id: string, product_title: string, title: string,
 *   options: {name: string, value: string}[], sku: string, barcode: string, price: Money | null,
 *   compare_at_price: Money | null, stock_quantity: number | null, available: boolean,
 *   sellable_without_stock: boolean, weight: string, weight_unit: string, image_url: string, product_status: string,
 *   vendor: string, product_type: string, product_url: string, source_update_time: string | null,
 *   update_time: string | null, delete_time: string | null, analysis: ItemAnalysis | null}} Item
 * @typedef {{product_id: string, title: string, description_html: string, items: Item[], tags: string[],
 *   images: {url: string}[]}} Product
 */

export {};
