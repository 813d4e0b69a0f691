"""What platforms do that breaks connectors, and which test meets it."""

from __future__ import annotations

from typing import Final

from tests.regressions.row import Row, tests

_S: Final = "integration/connector_svc/shopify/test_shopify_"
_W: Final = "integration/connector_svc/woocommerce/test_woocommerce_"
_R: Final = "contract/woocommerce/test_woocommerce_"
_B: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_pass"
_I: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_inventory"
_C: Final = "integration/connector_svc/bigcommerce/test_bigcommerce_completeness"
_F: Final = "integration/connector_svc/feed/test_feed_pass"

QUIRKS: Final = (
    Row(
        "quirk-throttled",
        "The rate limit answers THROTTLED with status 200, also for what another app of the same token spent",
        "Calls wait for their points, so that none is refused; a refusal is waited out for as long as it implies.",
        tests(
            f"{_S}rate_limiting",
            "nearly_all_points_are_used_and_no_call_is_throttled",
            "another_app_that_drains_the_bucket_slows_a_pass_and_never_fails_it",
        )
        + tests(f"{_B}", "a_used_up_rate_limit_window_is_waited_for_without_a_429"),
    ),
    Row(
        "quirk-too-dear",
        "A query of more than 1,000 points, or a page too large, is refused or fails inside",
        "Pages are halved and grow again; one product that cannot be had is set aside.",
        tests(f"{_S}hydration", "a_page_that_cannot_be_served_is_hydrated_in_halves")
        + tests(_B, "pages_that_are_too_large_are_requested_in_smaller_ones"),
    ),
    Row(
        "quirk-nodes-cost",
        "nodes(ids:) may one day be charged by the number of ids",
        "Each reported cost is looked at; the pass goes on by pages and reads nothing twice.",
        tests(
            f"{_S}hydration",
            "when_ids_are_charged_one_by_one_pages_are_read_instead",
            "when_hydration_becomes_too_expensive_during_a_pass_nothing_is_lost_or_read_twice",
        ),
    ),
    Row(
        "quirk-null-nodes",
        "A product vanishes between its listing and its reading",
        "It is asked for twice before it is left out. When the count moved, all ids are compared at the end.",
        tests(f"{_S}hydration", "a_product_deleted_between_listing_and_hydration_is_left_out")
        + tests(
            f"{_S}reconciliation",
            "null_nodes_lose_no_product_while_others_are_deleted",
            "null_nodes_lose_no_changed_product_while_others_are_edited",
        )
        + tests(f"{_R}families", "a_product_trashed_while_its_variations_are_read_is_left_out"),
    ),
    Row(
        "quirk-fall-forward",
        "A dead API version is served by another one without a word",
        "The served version is compared on each reply: an older one is refused, a newer one deletes nothing.",
        tests(
            f"{_S}quirks",
            "an_older_api_version_is_rejected",
            "a_newer_api_version_is_reported_and_forbids_deletions",
        ),
    ),
    Row(
        "quirk-ignored-filter",
        "A filter that is not understood is ignored: all rows come, with a warning beside them",
        "A warning ends the pass.",
        tests(f"{_S}quirks", "a_filter_that_shopify_ignores_is_an_error_and_not_all_products"),
    ),
    Row(
        "quirk-time-formats",
        "Unquoted times are cut, and a Z beside dates_are_gmt shifts the window by the store's zone",
        "Times are quoted and in UTC for Shopify, naive UTC for WooCommerce; exclusive bounds are widened.",
        tests(f"{_S}quirks", "times_in_search_filters_are_quoted_and_in_utc")
        + tests(
            f"{_R}catalog",
            "an_incremental_pass_holds_what_the_store_was_recorded_to_list",
            "an_incremental_pass_holds_everything_changed_at_the_bound_or_later",
        ),
    ),
    Row(
        "quirk-other-shop",
        "The address answers for another shop than was asked for",
        "Nothing of it is read.",
        tests(f"{_S}quirks", "a_shop_with_another_domain_is_not_read")
        + tests(_B, "a_reply_of_another_store_is_refused"),
    ),
    Row(
        "quirk-scopes",
        "A missing permission shows as empty fields or in the middle of a pass",
        "Scopes are checked before the first page, and the missing one is named.",
        tests(f"{_S}quirks", "scopes_are_checked_before_the_first_page") + tests(_B, "a_missing_scope_is_named"),
    ),
    Row(
        "quirk-lagging-totals",
        "A product's total stock lags behind its variants",
        "Only the variants' own stock is read.",
        tests(f"{_S}quirks", "stock_comes_from_the_variants_while_shopifys_totals_lag"),
    ),
    Row(
        "quirk-events",
        "A deletion event may be early, or kept from us",
        "It is believed only when asking by id confirms it; a shop that denies its events is listed.",
        tests(
            f"{_S}deletion_detection",
            "an_event_is_not_trusted_while_the_product_still_exists",
            "a_shop_that_denies_access_to_events_is_still_listed",
            "a_listing_that_is_shorter_than_the_count_allows_no_conclusion",
        ),
    ),
    Row(
        "quirk-token-ends",
        "A token ends in the middle of a pass",
        "It is renewed ahead, by one caller at a time; a call that met a dead one is sent once more.",
        tests(
            f"{_S}tokens",
            "a_token_that_expires_during_a_pass_never_fails_it",
            "concurrent_requests_for_a_token_of_one_shop_share_one_token",
        )
        + tests(_B, "a_renewed_token_is_fetched_once"),
    ),
    Row(
        "quirk-bulk-rows",
        "Rows of a bulk file are not grouped: children stand anywhere behind their parent",
        "They are joined on disk by the id of their parent.",
        tests(
            f"{_S}bulk",
            "children_far_from_their_parents_are_joined_to_the_right_one",
            "rows_directly_after_their_parents_are_joined_too",
            "a_bulk_pass_delivers_exactly_what_pages_deliver",
        ),
    ),
    Row(
        "quirk-bulk-jobs",
        "Five jobs run already; a job fails with partial data, expires, stands still or is cancelled",
        "Pages go on behind the last product that is provably whole.",
        tests(
            f"{_S}bulk",
            "when_five_jobs_run_already_pages_are_read_and_the_header_says_why",
            "of_a_failed_job_only_provably_complete_products_are_delivered",
            "a_stalled_job_of_ours_is_cancelled_and_others_are_left_alone",
            "when_the_job_is_lost_pages_continue_after_the_last_stored_product",
        ),
    ),
    Row(
        "quirk-bulk-file",
        "The file of a job is cut, or lacks nested rows without a word",
        "A download goes on where it broke; counts of bytes, rows, products and variants must add up.",
        tests(
            f"{_S}bulk",
            "a_broken_download_is_continued_where_it_broke",
            "a_job_that_delivers_less_than_everything_is_replaced_by_pages",
            "variants_that_a_job_silently_omits_are_read_alone",
        ),
    ),
    Row(
        "quirk-shifting-pages",
        "Rows that are trashed move later rows to pages that were read already; equal dates have no order",
        "Order by id, pages overlap by a row and step back; once anything moved, ids prove that all came.",
        tests(
            f"{_W}devstore",
            "a_storm_of_writes_loses_nothing_that_stays",
            "a_product_restored_behind_the_reader_is_read_by_its_id",
        )
        + tests(f"{_W}sweep", "a_storm_of_trashing_while_the_sweep_reads_takes_no_other_product_along"),
    ),
    Row(
        "quirk-rows-left-out",
        "A page lacks a row that its total counts, once under load or for ever",
        "It is asked for again; what stays missing is located and named, and the sync succeeds without deleting.",
        tests(f"{_W}dropped_rows", "no_product_is_lost_to_dropped_rows_while_others_change")
        + tests(f"{_R}families", "a_product_that_is_counted_and_cannot_be_loaded_is_named_and_the_pass_goes_on"),
    ),
    Row(
        "quirk-stale-children",
        "A product goes on naming variations that are gone",
        "Each is asked for once before it counts as gone, or the product as incomplete.",
        tests(
            f"{_W}by_id",
            "a_variation_that_is_gone_is_gone_though_its_product_still_names_it",
            "a_missing_variation_that_is_alive_is_not_taken_for_gone",
        ),
    ),
    Row(
        "quirk-undated-stock",
        "Stock and prices change without moving a date",
        "Incremental passes look at the stock and the prices of everything.",
        tests(
            f"{_W}sweep", "stock_that_moved_without_a_date_is_told", "prices_that_changed_without_a_date_are_told"
        )
        + tests(f"{_S}stock_scan", "stock_that_changed_without_a_date_is_reported_with_the_price")
        + tests(_B, "an_undated_stock_change_comes_with_the_next_incremental_pass"),
    ),
    Row(
        "quirk-default-location",
        "The catalog shows the stock of one location of several",
        "Stock is read for every location and added up; without the scope each pass says whose stock it is.",
        tests(
            _I,
            "stock_is_summed_over_all_enabled_locations",
            "without_the_scope_stock_is_that_of_the_default_location_with_a_note",
            "without_backorder_limits_the_inventory_policy_is_unspecified",
        ),
    ),
    Row(
        "quirk-short-page",
        "A page leaves rows out that it counts, while other products are deleted",
        "A page is taken when it holds what it counts; a product that stays out is named, nothing is deleted.",
        tests(
            _C,
            "deletions_during_a_pass_do_not_hide_a_missing_product",
            "a_store_that_omits_random_rows_is_read_completely_or_reports_what_is_missing",
        ),
    ),
    Row(
        "quirk-missing-route",
        "There is no list of variations over all products, or it ignores what it is asked",
        "The next best route is taken, and it is said what that costs.",
        tests(f"{_W}sweep", "without_a_bulk_route_only_products_are_swept_and_the_header_says_so")
        + tests(
            f"{_R}families",
            "a_bulk_list_of_no_use_is_left_for_one_list_per_product",
            "a_list_that_ignores_parent_is_not_asked_for_every_chunk_again",
        ),
    ),
    Row(
        "quirk-stale-rows",
        "Lists of variations hold stale ones and orphans",
        "Only those whose product has them are taken.",
        tests(f"{_W}sweep", "stale_and_orphan_variations_are_no_stock")
        + tests(f"{_R}catalog", "stale_variations_of_a_product_that_is_simple_now_do_not_come"),
    ),
    Row(
        "quirk-stripped-header",
        "The host strips the Authorization header",
        "The key goes into the query from then on, and into no log.",
        tests(
            f"{_R}refusals",
            "a_host_that_strips_the_header_gets_the_key_in_the_query_from_then_on",
            "no_log_holds_a_key_not_even_one_sent_in_the_query",
        ),
    ),
    Row(
        "quirk-plain-http",
        "A store without TLS ignores keys: only signed requests are let in",
        "Requests are signed, only where an override allows plain http.",
        tests(f"{_W}hosts", "over_plain_http_a_store_is_read_by_signed_requests_that_show_no_secret"),
    ),
    Row(
        "quirk-permalinks",
        "The API is not at /wp-json",
        "It is looked for at the other two addresses, and remembered.",
        tests(f"{_W}hosts", "where_the_api_is_gets_remembered_and_forgotten_when_it_moves"),
    ),
    Row(
        "quirk-not-json",
        "A web page with status 200, notices of PHP or a BOM before the JSON",
        "Notices are survived; a page says who must do what, and is never an empty catalog.",
        tests(
            f"{_W}hosts",
            "a_web_page_with_status_200_says_who_must_do_what",
            "a_store_with_a_quirk_is_read_whole",
        )
        + tests(
            f"{_R}refusals",
            "a_firewalls_page_is_not_taken_for_a_missing_permission",
            "a_web_page_with_status_200_in_place_of_products_is_no_empty_catalog",
        ),
    ),
    Row(
        "quirk-slow-host",
        "A cheap host fails when it is asked for more than it bears",
        "A store gets one to eight calls at a time, as fast as it answers.",
        tests(
            f"{_W}hosts",
            "a_host_of_one_worker_is_read_without_a_refusal",
            "a_host_that_asks_for_a_pause_is_left_alone_meanwhile",
        ),
    ),
    Row(
        "quirk-included-variants",
        "Lists inside a product end early",
        "They are drained and compared with the product's count.",
        tests(_B, "variants_that_are_not_included_are_requested")
        + tests(f"{_R}catalog", "a_product_with_130_variations_is_whole"),
    ),
    Row(
        "quirk-untrue-feed",
        "A feed's hash, counts or signature do not fit, or it is older than what was read",
        "Nothing of it is delivered.",
        tests(
            _F, "nothing_is_delivered_from_an_unverified_feed", "a_feed_older_than_the_last_watermark_is_refused"
        ),
    ),
    Row(
        "quirk-replaced-feed",
        "A feed's file is replaced while it is read",
        "A pass ends on the file that it began with, or begins anew; the two are never mixed.",
        tests(
            _F,
            "a_resume_reads_its_first_file_even_after_a_newer_one_was_published",
            "an_overwritten_file_expires_the_checkpoint",
        ),
    ),
)
