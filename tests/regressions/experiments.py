"""Failures of other connectors found by experiment, and the tests that prove each impossible here."""

from __future__ import annotations

from typing import Final

from tests.regressions.entry import Entry, node_ids

_END_TO_END: Final = "integration/end_to_end/test_experiments"
_BATCHES: Final = "integration/catalog_svc/test_batches"
_RESUMED: Final = node_ids(
    "integration/end_to_end/test_resume_everywhere", "resuming_from_every_checkpoint_ends_with_the_same_tables"
)
_KILLED: Final = (
    *_RESUMED,
    *node_ids("e2e/test_replicas", "another_replica_takes_over_and_no_item_is_lost_or_duplicated"),
    *node_ids("chaos/test_chaos", "after_random_faults_the_tables_equal_the_shops"),
)
_EXACT: Final = node_ids(_END_TO_END, "leading_zeros_trailing_zeros_and_fractions_survive_every_path")
_DELETED: Final = node_ids(_END_TO_END, "deleted_products_and_variants_leave_tombstones")

EXPERIMENTS: Final = (
    Entry(
        "experiment-kill",
        "After kill -9 everything is fetched again, or nothing is stored",
        "The pass continues after the last stored batch.",
        _KILLED,
    ),
    Entry("experiment-deletions", "Deleted rows stay forever", "Deleted rows leave tombstones.", _DELETED),
    Entry(
        "experiment-same-second",
        "Changes in the same second as the bookmark are never read",
        "Time windows overlap, and their bounds are inclusive.",
        node_ids(_END_TO_END, "a_change_in_the_very_second_of_the_watermark_is_picked_up"),
    ),
    Entry(
        "experiment-truncated",
        "Truncated JSON with status 200 fails the sync, or loses rows and the sync reports success",
        "The request is repeated; a truncated response is never treated as a shorter catalog.",
        node_ids(_END_TO_END, "a_truncated_body_with_status_200_loses_nothing")
        + node_ids("contract/platforms/test_platform_failures", "truncated_replies_never_become_a_shorter_catalog")
        + node_ids(
            "integration/connector_svc/shopify/test_shopify_bulk", "a_broken_download_is_continued_where_it_broke"
        ),
    ),
    Entry(
        "experiment-money",
        "Money is a float or a text; 7.30 becomes 7.3",
        "Money is an exact decimal, from the platform's text to the numeric column of the table.",
        _EXACT + node_ids(_BATCHES, "prices_weights_and_skus_are_stored_digit_for_digit"),
    ),
    Entry("experiment-sku", "00000134000 becomes 134000", "A SKU is text.", _EXACT),
    Entry(
        "experiment-weight",
        "0.5 kg is stored as 0 grams",
        "A weight keeps its digits and its unit.",
        _EXACT
        + node_ids("unit/connector_svc/shopify/test_shopify_parse", "a_weight_never_passes_through_a_float"),
    ),
    Entry(
        "experiment-memory",
        "Memory grows with the rows, from 229 MB to 2.4 GB; the state grows with the square of the products",
        "Buffers, files and checkpoints are bounded.",
        node_ids(
            "contract/platforms/test_platform_resume", "no_checkpoint_holds_a_secret_or_grows_with_the_catalog"
        )
        + node_ids("unit/connector_svc/shopify/test_shopify_bulk_join", "memory_does_not_grow_with_the_file"),
    ),
    Entry(
        "experiment-parent",
        "Variations lack the id of their parent",
        "Every item has its product's id.",
        node_ids(
            "contract/platforms/test_platform_pass",
            "every_item_has_its_product_price_sku_and_stock",
        ),
    ),
    Entry(
        "experiment-throttled",
        "One THROTTLED response fails the stream; half of all calls are throttled",
        "A throttled call waits and is repeated; in normal runs no call is throttled.",
        node_ids(_END_TO_END, "one_throttled_answer_fails_nothing")
        + node_ids(
            "integration/connector_svc/shopify/test_shopify_rate_limiting",
            "nearly_all_points_are_used_and_no_call_is_throttled",
        ),
    ),
    Entry(
        "experiment-100-variants",
        "variants(first: 100) loses 300 rows and reports success",
        "A product is complete only if it has as many variants as it counts.",
        node_ids(
            "unit/connector_svc/shopify/test_shopify_variant_drain",
            "a_long_product_is_drained_to_its_last_variant",
        )
        + node_ids("e2e/test_catalog_sync", "a_product_with_more_variants_than_a_page_is_complete"),
    ),
    Entry(
        "experiment-progress",
        "After kill -9 progress shows 21,040 items for 10,480 rows",
        "Progress is stored in the transaction of the batch that it counts, and is the same after any "
        "interruption.",
        _RESUMED + node_ids(_BATCHES, "products_checkpoint_and_progress_are_one_transaction"),
    ),
    Entry(
        "experiment-latency",
        "With 200 ms per call 2,000 variants take 410 s",
        "The number of calls determines the time, and few calls are made.",
        node_ids(_END_TO_END, "a_slow_shop_needs_few_calls"),
    ),
)
