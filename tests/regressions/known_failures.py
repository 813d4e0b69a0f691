"""Failures that users of other connectors report, and the tests that prove each impossible here.

docs/connectors.md is generated from this register; `test_connectors_page.py` checks that each named test exists.
"""

from __future__ import annotations

from typing import Final

from tests.regressions.entry import Entry, node_ids

_BULK: Final = "integration/connector_svc/shopify/test_shopify_bulk"
_BULK_JOIN: Final = "unit/connector_svc/shopify/test_shopify_bulk_join"
_QUIRKS: Final = "integration/connector_svc/shopify/test_shopify_quirks"
_TOKENS: Final = "integration/connector_svc/shopify/test_shopify_tokens"
_RATE_LIMITING: Final = "integration/connector_svc/shopify/test_shopify_rate_limiting"
_DELETIONS: Final = "integration/connector_svc/shopify/test_shopify_deletion_detection"
_VARIANT_DRAIN: Final = "unit/connector_svc/shopify/test_shopify_variant_drain"
_ERRORS: Final = "unit/connector_svc/shopify/test_shopify_error_mapping"
_WOO_STORE: Final = "integration/connector_svc/woocommerce/test_woocommerce_devstore"
_WOO_STOCK_SCAN: Final = "integration/connector_svc/woocommerce/test_woocommerce_stock_scan"
_WOO_PAGES: Final = "unit/connector_svc/woocommerce/test_woocommerce_product_pager"
_VARIATION_GROUPS: Final = "contract/woocommerce/test_woocommerce_variation_groups"
_BIGCOMMERCE: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_pass"
_FEED: Final = "integration/connector_svc/feed/test_feed_pass"
_PASS: Final = "contract/platforms/test_platform_pass"
_SUPERVISOR: Final = "integration/catalog_svc/test_sync_supervisor"
_SWEEP: Final = "integration/catalog_svc/test_sweep"
_BATCHES: Final = "integration/catalog_svc/test_batches"
_END_TO_END: Final = "integration/end_to_end/test_experiments"
_THIS_PACKAGE: Final = "regressions/test_known_failures"

KNOWN_FAILURES: Final = (
    Entry(
        "failure-01",
        "A bulk result is dropped silently, and the state advances",
        "A bulk result is used only if it matches the platform's counts; otherwise pages are read instead. "
        "Only a successful sync moves the watermark.",
        node_ids(_BULK, "a_job_that_delivers_less_than_everything_is_replaced_by_pages")
        + node_ids(_BULK_JOIN, "a_truncated_file_is_never_accepted")
        + node_ids(_FEED, "nothing_is_delivered_from_an_unverified_feed")
        + node_ids(_SUPERVISOR, "fewer_products_than_the_platform_counts_never_succeed")
        + node_ids("contract/catalog_stores/test_catalog_stores", "only_success_advances_the_watermark"),
    ),
    Entry(
        "failure-02",
        "Out of memory at the end of a bulk job",
        "Rows of a bulk file are buffered on disk; memory does not grow with the file.",
        node_ids(_BULK_JOIN, "memory_does_not_grow_with_the_file"),
    ),
    Entry(
        "failure-03",
        "Reading variants does not end: 86 hours for 14,000 rows",
        "Variants are read with their products, 100 to 250 per call; no query uses deprecated or expensive "
        "fields.",
        node_ids("unit/connector_svc/shopify/test_shopify_queries", "a_query_uses_nothing_deprecated")
        + node_ids(_END_TO_END, "a_slow_shop_needs_few_calls")
        + node_ids(_BIGCOMMERCE, "one_request_returns_250_products_with_variants_and_images"),
    ),
    Entry(
        "failure-04",
        "Nested lists end after 100 rows",
        "Every nested list is read to its end and compared with the platform's count of it.",
        node_ids(_VARIANT_DRAIN, "a_long_product_is_drained_to_its_last_variant")
        + node_ids(_BULK, "variants_that_a_job_silently_omits_are_read_alone")
        + node_ids("contract/woocommerce/test_woocommerce_catalog", "a_product_with_130_variations_is_complete")
        + node_ids(_BIGCOMMERCE, "variants_that_are_not_included_are_requested")
        + node_ids("e2e/test_catalog_sync", "a_product_with_more_variants_than_a_page_is_complete"),
    ),
    Entry(
        "failure-05",
        "Products arrive without the details of their variants",
        "Every variant has its price, SKU, stock and options; a variant that cannot be read is reported as an"
        " issue.",
        node_ids(_PASS, "every_item_has_its_product_price_sku_and_stock"),
    ),
    Entry(
        "failure-06",
        "A cursor by id misses all updates of variants",
        "Incremental passes read by modification time. Where a platform does not date changes of variants, "
        "they also scan all products.",
        node_ids(_THIS_PACKAGE, "known_failure_06_a_change_of_only_a_variant_is_detected")
        + node_ids(
            _END_TO_END,
            "price_and_sku_changes_of_only_a_bigcommerce_variant_are_stored",
        ),
    ),
    Entry(
        "failure-07",
        "Rows of variants lack the product id",
        "Every item has its product's id.",
        node_ids(_PASS, "every_item_has_its_product_price_sku_and_stock")
        + node_ids("e2e/test_catalog_sync", "items_are_found_by_sku_product_text_and_id"),
    ),
    Entry(
        "failure-08",
        "Metafields are missing",
        "The contract has no metafields. Every field that the contract has is filled, or reported as unknown.",
        node_ids("unit/connector_svc/rpc/test_rpc_convert", "every_field_of_the_contract_is_filled"),
    ),
    Entry(
        "failure-09",
        "Slow or throttled: 13 hours for 1,017 rows",
        "Calls are paced by their estimated cost and the state of the token bucket; a throttled call waits "
        "and is repeated.",
        node_ids(_RATE_LIMITING, "nearly_all_points_are_used_and_no_call_is_throttled")
        + node_ids(_WOO_STORE, "the_number_of_requests_is_small")
        + node_ids(_BIGCOMMERCE, "a_used_up_rate_limit_window_is_waited_for_without_a_429")
        + node_ids(_END_TO_END, "one_throttled_answer_fails_nothing"),
    ),
    Entry(
        "failure-10",
        "Deleted products stay",
        "A full pass whose counts match, and incremental passes that list every id, leave tombstones for "
        "deleted products.",
        node_ids(_END_TO_END, "deleted_products_and_variants_leave_tombstones")
        + node_ids(_DELETIONS, "a_deleted_product_is_reported_and_all_others_are_listed")
        + node_ids(_WOO_STOCK_SCAN, "trashed_products_are_reported_and_deleted_ones_are_not_listed")
        + node_ids(_BIGCOMMERCE, "an_incremental_pass_lists_every_product_so_that_deletions_can_be_detected")
        + node_ids(_FEED, "a_delta_delivers_only_changes_and_tombstones"),
    ),
    Entry(
        "failure-11",
        "The sunset of an API version breaks or changes data",
        "The served version is checked on each response: an older one is rejected, and with a newer one "
        "nothing is deleted.",
        node_ids(
            _QUIRKS,
            "an_older_api_version_is_rejected",
            "a_newer_api_version_is_reported_and_forbids_deletions",
        ),
    ),
    Entry(
        "failure-12",
        "Filters ignore the UTC offset of a time",
        "Times in filters are quoted and in UTC, in the form that each platform was measured to accept; if "
        "the platform ignores a filter, the pass fails.",
        node_ids(
            _QUIRKS,
            "times_in_search_filters_are_quoted_and_in_utc",
            "a_filter_that_shopify_ignores_is_an_error_and_not_all_products",
        )
        + node_ids(
            "contract/woocommerce/test_woocommerce_catalog",
            "an_incremental_pass_delivers_everything_changed_at_the_bound_or_later",
        )
        + node_ids(_END_TO_END, "a_change_in_the_very_second_of_the_watermark_is_picked_up"),
    ),
    Entry(
        "failure-13",
        "A discontinued REST API; no rate limiting by cost, nested lists not read to their end, no client "
        "credentials, no bulk operations",
        "GraphQL queries are validated against the genuine schema, rate limited by cost and read to their "
        "end, in bulk where that is faster; tokens are requested and renewed.",
        node_ids("unit/connector_svc/shopify/test_shopify_queries", "a_query_is_valid_in_the_genuine_schema")
        + node_ids(_BULK, "a_bulk_pass_delivers_exactly_what_pages_deliver")
        + node_ids(
            _TOKENS,
            "an_app_of_the_same_organisation_is_granted_one_token_per_pass",
            "a_token_that_expires_during_a_pass_never_fails_it",
        ),
    ),
    Entry(
        "failure-14",
        "Only 50 variants are read; the sync is stuck without an error",
        "Lists are read to their end; a sync that stores nothing fails as stalled, with a reason.",
        node_ids(_VARIANT_DRAIN, "a_drain_continues_when_shopify_returns_smaller_pages")
        + node_ids(_SUPERVISOR, "a_sync_that_never_stores_anything_is_ended_as_stalled"),
    ),
    Entry(
        "failure-15",
        "A removed variant stays",
        "A variant that is missing from its complete product is marked as deleted.",
        node_ids(_END_TO_END, "deleted_products_and_variants_leave_tombstones")
        + node_ids(_BATCHES, "a_removed_variant_is_marked_deleted_and_counts_as_created_when_it_returns")
        + node_ids(_WOO_STOCK_SCAN, "a_product_with_a_deleted_variation_is_delivered_without_it"),
    ),
    Entry(
        "failure-16",
        "A variant is deleted by mistake, because it was skipped",
        "Nothing is deleted from a product that was received incomplete; a rejected record does not count as "
        "deleted; the deletion guard stops mass deletions.",
        node_ids(_THIS_PACKAGE, "known_failure_16_a_variant_that_has_become_invalid_is_not_treated_as_deleted")
        + node_ids(_VARIATION_GROUPS, "variations_that_no_list_contains_are_reported_and_not_treated_as_deleted")
        + node_ids(_FEED, "the_first_record_of_a_duplicate_id_is_kept_and_no_variant_is_deleted")
        + node_ids(_BIGCOMMERCE, "a_product_that_stays_short_of_variants_is_reported_as_incomplete")
        + node_ids(_BATCHES, "missing_variants_of_a_product_that_arrived_incomplete_are_not_deleted")
        + node_ids(
            _SWEEP,
            "a_rejected_product_is_not_deleted",
            "a_pass_with_warnings_deletes_nothing",
            "the_deletion_guard_stops_a_mass_deletion_and_marks_nothing",
        ),
    ),
    Entry(
        "failure-17",
        "A job of another client is cancelled, or the end of a cancelled job is not awaited",
        "Only the job that our checkpoint names is cancelled, and its end is awaited.",
        node_ids(
            _BULK,
            "cancel_job_cancels_the_job_of_the_checkpoint_and_no_other",
            "a_stalled_job_of_ours_is_cancelled_and_others_are_left_alone",
        ),
    ),
    Entry(
        "failure-18",
        "Children are attached to the wrong parent",
        "Rows are joined by the id of their parent, wherever they are in the file.",
        node_ids(
            _BULK,
            "children_far_from_their_parents_are_joined_to_the_right_one",
            "rows_directly_after_their_parents_are_joined_too",
        )
        + node_ids(_VARIATION_GROUPS, "a_bulk_route_that_ignores_parent_is_not_tried_again_for_every_batch"),
    ),
    Entry(
        "failure-19",
        "A page that is too large is an internal error",
        "A page that cannot be served is requested in halves, and the page size grows again; a product that "
        "is never returned is rejected.",
        node_ids(
            _ERRORS,
            "a_page_that_cannot_be_served_is_halved",
            "a_page_grows_again_after_an_internal_error_but_not_beyond_the_maximum_cost",
            "one_product_that_shopify_cannot_deliver_is_rejected_alone",
        )
        + node_ids(_BIGCOMMERCE, "pages_that_are_too_large_are_requested_in_smaller_ones"),
    ),
    Entry(
        "failure-20",
        "Duplicates and gaps between WooCommerce's pages; stale stock; no sign of deletions",
        "Pages overlap by one row and step back; distinct ids are counted; a scan reads the stock and the ids"
        " of all products.",
        node_ids(_WOO_PAGES, "trashing_anywhere_loses_no_product_that_stays")
        + node_ids(_WOO_STORE, "many_concurrent_writes_lose_no_product_that_stays")
        + node_ids(
            _WOO_STOCK_SCAN,
            "stock_that_changed_without_a_modification_date_is_reported",
            "an_incremental_pass_lists_every_product_once",
        )
        + node_ids(_BIGCOMMERCE, "an_undated_stock_change_comes_with_the_next_incremental_pass"),
    ),
    Entry(
        "failure-21",
        "The sync is stuck and nothing is in the log",
        "Every wait is reported while it lasts, with its reason and its end; heartbeats are sent while "
        "nothing else is.",
        node_ids(
            "integration/connector_svc/rpc/test_connector_rpc",
            "waits_are_reported_at_once_and_silence_is_broken_by_heartbeats",
        )
        + node_ids(_BULK, "progress_of_the_job_is_reported_in_products")
        + node_ids(_SUPERVISOR, "the_connectors_waits_are_shown_until_the_batch_after_them"),
    ),
    Entry(
        "failure-22",
        "The HTTP client hangs forever; no throttling",
        "Every request has a time limit; each host has a retry budget and a circuit breaker.",
        node_ids(
            "unit/connector_svc/http/test_http_retry",
            "a_shop_that_accepts_connections_and_never_answers_is_unreachable",
            "retry_after_is_waited_for_in_full",
        )
        + node_ids(
            "unit/connector_svc/http/test_http_circuit_breaker",
            "the_circuit_of_a_host_without_answers_opens_for_all_passes",
        ),
    ),
)
