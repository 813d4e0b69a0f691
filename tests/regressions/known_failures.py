"""Failures that users report of other connectors, and which test shows each to be impossible here.

docs/connectors.md is written from it; `test_register.py` runs pytest's collection over all that is named.
"""

from __future__ import annotations

from typing import Final

from tests.regressions.row import Row, tests

_BULK: Final = "integration/connector_svc/shopify/test_shopify_bulk"
_SPILL: Final = "unit/connector_svc/shopify/test_shopify_bulk_join"
_TRAPS: Final = "integration/connector_svc/shopify/test_shopify_quirks"
_TOKENS: Final = "integration/connector_svc/shopify/test_shopify_tokens"
_PACING: Final = "integration/connector_svc/shopify/test_shopify_rate_limiting"
_DEPARTURES: Final = "integration/connector_svc/shopify/test_shopify_deletion_detection"
_LONG: Final = "unit/connector_svc/shopify/test_shopify_variant_drain"
_FAULTS: Final = "unit/connector_svc/shopify/test_shopify_error_mapping"
_WOO_STORE: Final = "integration/connector_svc/woocommerce/test_woocommerce_devstore"
_WOO_STOCK_SCAN: Final = "integration/connector_svc/woocommerce/test_woocommerce_stock_scan"
_WOO_PAGES: Final = "unit/connector_svc/woocommerce/test_woocommerce_product_pager"
_WOO_VARIATIONS: Final = "contract/woocommerce/test_woocommerce_variation_groups"
_BIG: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_pass"
_FEED: Final = "integration/connector_svc/feed/test_feed_pass"
_PASS: Final = "contract/platforms/test_platform_pass"
_RUN: Final = "integration/catalog_svc/test_sync_supervisor"
_SWEEP: Final = "integration/catalog_svc/test_sweep"
_BATCHES: Final = "integration/catalog_svc/test_batches"
_END_TO_END: Final = "integration/end_to_end/test_experiments"
_HERE: Final = "regressions/test_known_failures"

KNOWN_FAILURES: Final = (
    Row(
        "failure-01",
        "A bulk result is dropped silently and the state moves on",
        "A result counts only when it is proven whole against the platform's counts; else pages replace it. Only "
        "success moves the watermark.",
        tests(_BULK, "a_job_that_delivers_less_than_everything_is_replaced_by_pages")
        + tests(_SPILL, "a_truncated_file_is_never_accepted")
        + tests(_FEED, "nothing_is_delivered_from_an_unverified_feed")
        + tests(_RUN, "fewer_products_than_the_platform_counts_never_succeed")
        + tests("contract/catalog_stores/test_catalog_stores", "only_success_advances_the_watermark"),
    ),
    Row(
        "failure-02",
        "Out of memory at the end of a bulk job",
        "Rows of a bulk file wait on disk; memory does not grow with the file.",
        tests(_SPILL, "memory_does_not_grow_with_the_file"),
    ),
    Row(
        "failure-03",
        "Variants never end: 86 hours for 14,000 rows",
        "Variants come with their product, 100 to 250 a call; nothing deprecated or dear is asked for.",
        tests("unit/connector_svc/shopify/test_shopify_queries", "a_query_uses_nothing_deprecated")
        + tests(_END_TO_END, "a_slow_shop_needs_few_calls")
        + tests(_BIG, "one_request_returns_250_products_with_variants_and_images"),
    ),
    Row(
        "failure-04",
        "Nested rows end at 100",
        "Every nested list is drained to its end and compared with the platform's count of it.",
        tests(_LONG, "a_long_product_is_drained_to_its_last_variant")
        + tests(_BULK, "variants_that_a_job_silently_omits_are_read_alone")
        + tests("contract/woocommerce/test_woocommerce_catalog", "a_product_with_130_variations_is_complete")
        + tests(_BIG, "variants_that_are_not_included_are_requested")
        + tests("e2e/test_catalogs_arrive", "a_product_with_more_variants_than_a_page_arrives_whole"),
    ),
    Row(
        "failure-05",
        "Products without the details of their variants",
        "Every variant comes with price, SKU, stock and options; one that cannot is told as an issue.",
        tests(_PASS, "every_item_has_its_product_price_sku_and_stock"),
    ),
    Row(
        "failure-06",
        "A cursor by id: updates of variants are never seen",
        "Incremental passes go by time of change and, where a platform dates no change of a variant, by a sweep.",
        tests(_HERE, "known_failure_06_a_change_of_a_variant_alone_is_seen")
        + tests(
            _END_TO_END,
            "a_price_and_a_sku_changed_on_a_variant_alone_arrive_too",
        ),
    ),
    Row(
        "failure-07",
        "No product id in the rows of variants",
        "Every item carries its product's id.",
        tests(_PASS, "every_item_has_its_product_price_sku_and_stock")
        + tests("e2e/test_catalogs_arrive", "items_are_found_by_sku_product_text_and_id"),
    ),
    Row(
        "failure-08",
        "Metafields are missing",
        "The contract promises no metafields. Whatever it has a field for is filled, or told as unknown.",
        tests("unit/connector_svc/rpc/test_rpc_convert", "every_field_of_the_contract_is_filled"),
    ),
    Row(
        "failure-09",
        "Slow or throttled: 13 hours for 1,017 rows",
        "Calls are paced by their foretold cost and the state of the bucket; a throttled answer is waited out.",
        tests(_PACING, "nearly_all_points_are_used_and_no_call_is_throttled")
        + tests(_WOO_STORE, "the_number_of_requests_is_small")
        + tests(_BIG, "a_used_up_rate_limit_window_is_waited_for_without_a_429")
        + tests(_END_TO_END, "one_throttled_answer_fails_nothing"),
    ),
    Row(
        "failure-10",
        "Deleted products stay",
        "A counted full pass, and incremental passes that list every id, leave tombstones for what is gone.",
        tests(_END_TO_END, "deleted_products_and_variants_leave_tombstones")
        + tests(_DEPARTURES, "a_deleted_product_is_reported_and_all_others_are_listed")
        + tests(_WOO_STOCK_SCAN, "trashed_products_are_reported_and_deleted_ones_are_not_listed")
        + tests(_BIG, "an_incremental_pass_lists_every_product_so_that_deletions_can_be_detected")
        + tests(_FEED, "a_delta_delivers_only_changes_and_tombstones"),
    ),
    Row(
        "failure-11",
        "The sunset of a version breaks or changes data",
        "The served version is compared on each reply: an older one is refused, a newer one deletes nothing.",
        tests(
            _TRAPS,
            "an_older_api_version_is_rejected",
            "a_newer_api_version_is_reported_and_forbids_deletions",
        ),
    ),
    Row(
        "failure-12",
        "The offset of a time is ignored in filters",
        "Times in filters are quoted and in UTC, in the form each platform was measured to take; a filter that "
        "the platform ignores ends the pass.",
        tests(
            _TRAPS,
            "times_in_search_filters_are_quoted_and_in_utc",
            "a_filter_that_shopify_ignores_is_an_error_and_not_all_products",
        )
        + tests(
            "contract/woocommerce/test_woocommerce_catalog",
            "an_incremental_pass_delivers_everything_changed_at_the_bound_or_later",
        )
        + tests(_END_TO_END, "a_change_in_the_very_second_of_the_watermark_is_picked_up"),
    ),
    Row(
        "failure-13",
        "A dead REST API; no cost pacing, draining, client credentials or bulk",
        "GraphQL that is checked against the genuine schema, paced, drained, in bulk where it pays, with "
        "tokens that are granted and renewed.",
        tests("unit/connector_svc/shopify/test_shopify_queries", "a_query_is_valid_in_the_genuine_schema")
        + tests(_BULK, "a_bulk_pass_delivers_exactly_what_pages_deliver")
        + tests(
            _TOKENS,
            "an_app_of_the_same_organisation_is_granted_one_token_per_pass",
            "a_token_that_expires_during_a_pass_never_fails_it",
        ),
    ),
    Row(
        "failure-14",
        "Only 50 variants; the sync is stuck without an error",
        "Lists are drained; a sync that stores nothing is ended as stalled, with a reason.",
        tests(_LONG, "a_drain_continues_when_shopify_returns_smaller_pages")
        + tests(_RUN, "a_sync_that_never_stores_anything_is_ended_as_stalled"),
    ),
    Row(
        "failure-15",
        "A removed variant stays",
        "A variant that is missing from its complete product is marked deleted.",
        tests(_END_TO_END, "deleted_products_and_variants_leave_tombstones")
        + tests(_BATCHES, "a_removed_variant_is_marked_deleted_and_counts_as_created_when_it_returns")
        + tests(_WOO_STOCK_SCAN, "a_product_with_a_deleted_variation_is_delivered_without_it"),
    ),
    Row(
        "failure-16",
        "A variant is deleted by mistake: skipped was read as gone",
        "Of a product that came incomplete nothing is deleted; set aside is not gone; a fuse stops masses.",
        tests(_HERE, "known_failure_16_a_variant_that_cannot_be_read_any_more_is_not_taken_for_gone")
        + tests(_WOO_VARIATIONS, "variations_that_no_list_contains_are_reported_and_not_treated_as_deleted")
        + tests(_FEED, "the_first_record_of_a_duplicate_id_is_kept_and_no_variant_is_deleted")
        + tests(_BIG, "a_product_that_stays_short_of_variants_is_reported_as_incomplete")
        + tests(_BATCHES, "missing_variants_of_a_product_that_arrived_incomplete_are_not_deleted")
        + tests(
            _SWEEP,
            "a_rejected_product_is_not_deleted",
            "a_pass_with_warnings_deletes_nothing",
            "the_deletion_guard_stops_a_mass_deletion_and_marks_nothing",
        ),
    ),
    Row(
        "failure-17",
        "A job is cancelled that is not ours, or its cancel is not awaited",
        "Only the job that our checkpoint names is ended, and its end is awaited.",
        tests(
            _BULK,
            "cancel_job_cancels_the_job_of_the_checkpoint_and_no_other",
            "a_stalled_job_of_ours_is_cancelled_and_others_are_left_alone",
        ),
    ),
    Row(
        "failure-18",
        "Children are attached to the wrong parent",
        "Rows are joined by the id of their parent, wherever they stand.",
        tests(
            _BULK,
            "children_far_from_their_parents_are_joined_to_the_right_one",
            "rows_directly_after_their_parents_are_joined_too",
        )
        + tests(_WOO_VARIATIONS, "a_bulk_route_that_ignores_parent_is_not_tried_again_for_every_batch"),
    ),
    Row(
        "failure-19",
        "A page too large is an internal error",
        "A page that cannot be served is asked for in halves, and grows again; one that never comes is set aside.",
        tests(
            _FAULTS,
            "a_page_that_cannot_be_served_is_halved",
            "a_page_grows_again_after_an_internal_error_but_not_beyond_the_maximum_cost",
            "one_product_that_shopify_cannot_deliver_is_rejected_alone",
        )
        + tests(_BIG, "pages_that_are_too_large_are_requested_in_smaller_ones"),
    ),
    Row(
        "failure-20",
        "Duplicates and gaps between WooCommerce's pages; stale stock; no sign of deletions",
        "Pages overlap by a row and step back; distinct ids are counted; stock and ids are swept.",
        tests(_WOO_PAGES, "trashing_anywhere_loses_no_product_that_stays")
        + tests(_WOO_STORE, "many_concurrent_writes_lose_no_product_that_stays")
        + tests(
            _WOO_STOCK_SCAN,
            "stock_that_changed_without_a_modification_date_is_reported",
            "an_incremental_pass_lists_every_product_once",
        )
        + tests(_BIG, "an_undated_stock_change_comes_with_the_next_incremental_pass"),
    ),
    Row(
        "failure-21",
        "The sync is stuck and nothing is in the log",
        "Every wait is told while it lasts, with its reason and end; silence is broken by heartbeats.",
        tests(
            "integration/connector_svc/rpc/test_connector_rpc",
            "waits_are_reported_at_once_and_silence_is_broken_by_heartbeats",
        )
        + tests(_BULK, "progress_of_the_job_is_reported_in_products")
        + tests(_RUN, "the_connectors_waits_are_shown_until_the_batch_after_them"),
    ),
    Row(
        "failure-22",
        "The HTTP client hangs for ever; no throttling",
        "Every request has an end, a budget of retries and a circuit per host.",
        tests(
            "unit/connector_svc/http/test_http_retry",
            "a_shop_that_accepts_connections_and_never_answers_is_unreachable",
            "retry_after_is_waited_for_in_full",
        )
        + tests(
            "unit/connector_svc/http/test_http_circuit_breaker",
            "the_circuit_of_a_host_without_answers_opens_for_all_passes",
        ),
    ),
)
