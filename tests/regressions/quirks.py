"""Behavior of platforms that breaks connectors, and the tests that cover each."""

from __future__ import annotations

from typing import Final

from tests.regressions.entry import Entry, node_ids

_SHOPIFY: Final = "integration/connector_svc/shopify/test_shopify_"
_WOO: Final = "integration/connector_svc/woocommerce/test_woocommerce_"
_WOO_CONTRACT: Final = "contract/woocommerce/test_woocommerce_"
_BIGCOMMERCE: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_pass"
_BIGCOMMERCE_INVENTORY: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_inventory"
_BIGCOMMERCE_COMPLETENESS: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_completeness"
_FEED: Final = "integration/connector_svc/feed/test_feed_pass"

QUIRKS: Final = (
    Entry(
        "quirk-throttled",
        "The rate limit answers THROTTLED with status 200, also for points that another app with the same "
        "token spent",
        "Calls wait until enough points are available, so that none is throttled; a throttled call waits as "
        "long as the response implies.",
        node_ids(
            f"{_SHOPIFY}rate_limiting",
            "nearly_all_points_are_used_and_no_call_is_throttled",
            "another_app_that_drains_the_bucket_slows_a_pass_and_never_fails_it",
        )
        + node_ids(_BIGCOMMERCE, "a_used_up_rate_limit_window_is_waited_for_without_a_429"),
    ),
    Entry(
        "quirk-max-cost",
        "A query of more than 1,000 points, or a page that is too large, is rejected or ends in an internal error",
        "Page sizes are halved and grow again; a single product that cannot be read is rejected.",
        node_ids(f"{_SHOPIFY}hydration", "a_page_that_cannot_be_served_is_hydrated_in_halves")
        + node_ids(_BIGCOMMERCE, "pages_that_are_too_large_are_requested_in_smaller_ones"),
    ),
    Entry(
        "quirk-nodes-cost",
        "nodes(ids:) may one day be charged by the number of ids",
        "Each reported cost is checked; when ids are too expensive, the pass continues by pages and reads "
        "nothing twice.",
        node_ids(
            f"{_SHOPIFY}hydration",
            "when_ids_are_charged_one_by_one_pages_are_read_instead",
            "when_hydration_becomes_too_expensive_during_a_pass_nothing_is_lost_or_read_twice",
        ),
    ),
    Entry(
        "quirk-null-nodes",
        "A product disappears between the listing of its id and its reading",
        "The product is requested twice before it is left out. If the count of products changed, all ids are "
        "compared at the end.",
        node_ids(f"{_SHOPIFY}hydration", "a_product_deleted_between_listing_and_hydration_is_left_out")
        + node_ids(
            f"{_SHOPIFY}reconciliation",
            "null_nodes_lose_no_product_while_others_are_deleted",
            "null_nodes_lose_no_changed_product_while_others_are_edited",
        )
        + node_ids(
            f"{_WOO_CONTRACT}variation_groups", "a_product_trashed_while_its_variations_are_read_is_left_out"
        ),
    ),
    Entry(
        "quirk-fall-forward",
        "A discontinued API version is silently served by another one",
        "The served version is checked on each response: an older one is rejected, and with a newer one "
        "nothing is deleted.",
        node_ids(
            f"{_SHOPIFY}quirks",
            "an_older_api_version_is_rejected",
            "a_newer_api_version_is_reported_and_forbids_deletions",
        ),
    ),
    Entry(
        "quirk-ignored-filter",
        "A filter that the platform does not understand is ignored: all rows are returned, with a warning",
        "A warning fails the pass.",
        node_ids(f"{_SHOPIFY}quirks", "a_filter_that_shopify_ignores_is_an_error_and_not_all_products"),
    ),
    Entry(
        "quirk-time-formats",
        "Unquoted times are truncated, and a Z together with dates_are_gmt shifts the window by the store's "
        "time zone",
        "Times are quoted and in UTC for Shopify, naive UTC for WooCommerce; exclusive bounds are widened.",
        node_ids(f"{_SHOPIFY}quirks", "times_in_search_filters_are_quoted_and_in_utc")
        + node_ids(
            f"{_WOO_CONTRACT}catalog",
            "an_incremental_pass_delivers_what_the_recorded_store_lists",
            "an_incremental_pass_delivers_everything_changed_at_the_bound_or_later",
        ),
    ),
    Entry(
        "quirk-other-shop",
        "The address answers for a shop other than the requested one",
        "Nothing of that shop is read.",
        node_ids(f"{_SHOPIFY}quirks", "a_shop_with_another_domain_is_not_read")
        + node_ids(_BIGCOMMERCE, "a_reply_of_another_store_is_refused"),
    ),
    Entry(
        "quirk-scopes",
        "A missing permission shows as empty fields, or as an error in the middle of a pass",
        "Scopes are checked before the first page, and the error names the missing one.",
        node_ids(f"{_SHOPIFY}quirks", "scopes_are_checked_before_the_first_page")
        + node_ids(_BIGCOMMERCE, "a_missing_scope_is_named"),
    ),
    Entry(
        "quirk-lagging-totals",
        "A product's total stock lags behind that of its variants",
        "Only the stock of the variants is read.",
        node_ids(f"{_SHOPIFY}quirks", "stock_comes_from_the_variants_while_shopifys_totals_lag"),
    ),
    Entry(
        "quirk-events",
        "A deletion event may come too early, or access to events may be denied",
        "A deletion event counts only if a request for the product by id confirms it; in a shop that denies "
        "access to events all ids are listed.",
        node_ids(
            f"{_SHOPIFY}deletion_detection",
            "an_event_is_not_trusted_while_the_product_still_exists",
            "a_shop_that_denies_access_to_events_is_still_listed",
            "a_listing_that_is_shorter_than_the_count_allows_no_conclusion",
        ),
    ),
    Entry(
        "quirk-token-ends",
        "A token expires in the middle of a pass",
        "The token is renewed before it expires, by one caller at a time; a call that was sent with an "
        "expired token is repeated once.",
        node_ids(
            f"{_SHOPIFY}tokens",
            "a_token_that_expires_during_a_pass_never_fails_it",
            "concurrent_requests_for_a_token_of_one_shop_share_one_token",
        )
        + node_ids(_BIGCOMMERCE, "a_renewed_token_is_fetched_once"),
    ),
    Entry(
        "quirk-bulk-rows",
        "Rows of a bulk file are not grouped: children are anywhere after their parent",
        "Rows are joined on disk by the id of their parent.",
        node_ids(
            f"{_SHOPIFY}bulk",
            "children_far_from_their_parents_are_joined_to_the_right_one",
            "rows_directly_after_their_parents_are_joined_too",
            "a_bulk_pass_delivers_exactly_what_pages_deliver",
        ),
    ),
    Entry(
        "quirk-bulk-jobs",
        "Five jobs run already; a job fails with partial data, expires, stalls or is cancelled",
        "Pages are read after the last product that is provably complete.",
        node_ids(
            f"{_SHOPIFY}bulk",
            "when_five_jobs_run_already_pages_are_read_and_the_header_says_why",
            "of_a_failed_job_only_provably_complete_products_are_delivered",
            "a_stalled_job_of_ours_is_cancelled_and_others_are_left_alone",
            "when_the_job_is_lost_pages_continue_after_the_last_stored_product",
        ),
    ),
    Entry(
        "quirk-bulk-file",
        "The file of a job is truncated, or silently lacks nested rows",
        "A download continues where it was interrupted; the counts of bytes, rows, products and variants must"
        " match.",
        node_ids(
            f"{_SHOPIFY}bulk",
            "a_broken_download_is_continued_where_it_broke",
            "a_job_that_delivers_less_than_everything_is_replaced_by_pages",
            "variants_that_a_job_silently_omits_are_read_alone",
        ),
    ),
    Entry(
        "quirk-shifting-pages",
        "Trashing a row moves later rows to pages that were already read; rows with equal dates have no order",
        "Pages are ordered by id, overlap by one row and step back; if any row moved, the ids prove that all "
        "products were received.",
        node_ids(
            f"{_WOO}devstore",
            "many_concurrent_writes_lose_no_product_that_stays",
            "a_product_restored_behind_the_cursor_is_read_by_its_id",
        )
        + node_ids(f"{_WOO}stock_scan", "trashing_many_products_during_the_stock_scan_loses_no_other_product"),
    ),
    Entry(
        "quirk-rows-left-out",
        "A page lacks a row that its total counts, temporarily under load or permanently",
        "The page is requested again; a product that stays missing is located and reported, and the sync "
        "succeeds without deletions.",
        node_ids(f"{_WOO}dropped_rows", "no_product_is_lost_to_dropped_rows_while_others_change")
        + node_ids(
            f"{_WOO_CONTRACT}variation_groups",
            "a_product_that_is_counted_and_cannot_be_loaded_is_reported_and_the_pass_continues",
        ),
    ),
    Entry(
        "quirk-stale-children",
        "A product still lists variations that were deleted",
        "Each is requested once before it counts as deleted, or its product as incomplete.",
        node_ids(
            f"{_WOO}products_by_id",
            "a_deleted_variation_is_not_delivered_although_its_product_still_names_it",
            "a_missing_variation_that_exists_is_not_treated_as_deleted",
        ),
    ),
    Entry(
        "quirk-undated-stock",
        "Stock and prices change without a new modification date",
        "Incremental passes scan the stock and the prices of all products.",
        node_ids(
            f"{_WOO}stock_scan",
            "stock_that_changed_without_a_modification_date_is_reported",
            "prices_that_changed_without_a_modification_date_are_reported",
        )
        + node_ids(f"{_SHOPIFY}stock_scan", "stock_that_changed_without_a_date_is_reported_with_the_price")
        + node_ids(_BIGCOMMERCE, "an_undated_stock_change_comes_with_the_next_incremental_pass"),
    ),
    Entry(
        "quirk-default-location",
        "The catalog shows the stock of one of several locations",
        "The stock of all locations is summed; without the required scope each pass reports that only the "
        "default location is shown.",
        node_ids(
            _BIGCOMMERCE_INVENTORY,
            "stock_is_summed_over_all_enabled_locations",
            "without_the_scope_stock_is_that_of_the_default_location_with_a_note",
            "without_backorder_limits_the_inventory_policy_is_unspecified",
        ),
    ),
    Entry(
        "quirk-short-page",
        "A page lacks rows that it counts, while other products are deleted",
        "A page is accepted only if it has as many rows as it counts; a product that stays missing is "
        "reported, and nothing is deleted.",
        node_ids(
            _BIGCOMMERCE_COMPLETENESS,
            "deletions_during_a_pass_do_not_hide_a_missing_product",
            "a_store_that_omits_random_rows_is_read_completely_or_reports_what_is_missing",
        ),
    ),
    Entry(
        "quirk-missing-route",
        "There is no list of the variations of all products, or the list ignores its parameters",
        "The next best route is used, and its cost is reported.",
        node_ids(f"{_WOO}stock_scan", "without_a_bulk_route_only_products_are_scanned_and_the_header_says_so")
        + node_ids(
            f"{_WOO_CONTRACT}variation_groups",
            "an_unusable_bulk_route_is_replaced_by_one_list_per_product",
            "a_bulk_route_that_ignores_parent_is_not_tried_again_for_every_batch",
        ),
    ),
    Entry(
        "quirk-stale-rows",
        "Lists of variations contain stale ones and orphans",
        "Only variations that belong to their product are used.",
        node_ids(f"{_WOO}stock_scan", "stale_and_orphaned_variations_have_no_stock_level")
        + node_ids(
            f"{_WOO_CONTRACT}catalog", "stale_variations_of_a_product_that_is_simple_now_are_not_delivered"
        ),
    ),
    Entry(
        "quirk-stripped-header",
        "The host strips the Authorization header",
        "From then on the key is sent in the query, and no log contains it.",
        node_ids(
            f"{_WOO_CONTRACT}error_mapping",
            "a_host_that_strips_the_header_receives_the_key_in_the_query_from_then_on",
            "no_log_contains_a_key_not_even_one_sent_in_the_query",
        ),
    ),
    Entry(
        "quirk-plain-http",
        "A store without TLS ignores keys and accepts only signed requests",
        "Requests are signed, and only where an endpoint override allows plain http.",
        node_ids(f"{_WOO}hosts", "over_plain_http_requests_are_signed_and_contain_no_secret"),
    ),
    Entry(
        "quirk-permalinks",
        "The API is not at /wp-json",
        "The two other addresses are tried, and the one that works is remembered.",
        node_ids(f"{_WOO}hosts", "the_address_form_is_remembered_and_forgotten_when_it_changes"),
    ),
    Entry(
        "quirk-not-json",
        "A web page with status 200; PHP notices or a BOM before the JSON",
        "Notices and a BOM are skipped; for a web page the error says who must do what, and it is never an "
        "empty catalog.",
        node_ids(
            f"{_WOO}hosts",
            "a_web_page_with_status_200_says_who_can_fix_the_store",
            "a_store_with_a_quirk_is_read_completely",
        )
        + node_ids(
            f"{_WOO_CONTRACT}error_mapping",
            "a_page_of_a_firewall_is_not_a_missing_permission",
            "a_web_page_with_status_200_instead_of_products_is_not_an_empty_catalog",
        ),
    ),
    Entry(
        "quirk-slow-host",
        "A cheap host fails when it gets more calls than it can handle",
        "A store gets one to eight concurrent calls, depending on how fast it answers.",
        node_ids(
            f"{_WOO}hosts",
            "a_host_with_one_worker_is_read_without_errors",
            "no_other_request_is_sent_while_one_waits_for_its_retry",
        ),
    ),
    Entry(
        "quirk-included-variants",
        "Lists inside a product end early",
        "They are read to their end and compared with the product's count.",
        node_ids(_BIGCOMMERCE, "variants_that_are_not_included_are_requested")
        + node_ids(f"{_WOO_CONTRACT}catalog", "a_product_with_130_variations_is_complete"),
    ),
    Entry(
        "quirk-untrue-feed",
        "The hash, the counts or the signature of a feed do not match, or the feed is older than the one read"
        " before",
        "Nothing of the feed is delivered.",
        node_ids(
            _FEED,
            "nothing_is_delivered_from_an_unverified_feed",
            "a_feed_older_than_the_last_watermark_is_refused",
        ),
    ),
    Entry(
        "quirk-replaced-feed",
        "The file of a feed is replaced while it is read",
        "A pass delivers one file only: a resumed pass whose file was replaced fails with CHECKPOINT_EXPIRED.",
        node_ids(
            _FEED,
            "a_resume_reads_its_first_file_even_after_a_newer_one_was_published",
            "an_overwritten_file_expires_the_checkpoint",
        ),
    ),
)
