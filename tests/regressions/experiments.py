"""What was seen to go wrong with other systems by experiment, and which test shows each to be impossible here."""

from __future__ import annotations

from typing import Final

from tests.regressions.row import Row, tests

_END_TO_END: Final = "integration/end_to_end/test_experiments"
_BATCHES: Final = "integration/catalog_svc/test_batches"
_RESUMED: Final = tests(
    "integration/end_to_end/test_resume_everywhere", "resuming_from_every_checkpoint_ends_with_the_same_tables"
)
_KILLED: Final = (
    *_RESUMED,
    *tests("e2e/test_takeover", "another_replica_goes_on"),
    *tests("chaos/test_chaos", "whatever_dies_the_tables_end_up_as_the_shops_are"),
)
_EXACT: Final = tests(_END_TO_END, "leading_zeros_trailing_zeros_and_fractions_survive_every_path")
_DELETED: Final = tests(_END_TO_END, "deleted_products_and_variants_leave_tombstones")

EXPERIMENTS: Final = (
    Row(
        "experiment-kill",
        "kill -9 fetches everything again, or stores nothing",
        "The pass goes on after the last stored batch.",
        _KILLED,
    ),
    Row("experiment-deletions", "Deleted rows stay for ever", "They leave tombstones.", _DELETED),
    Row(
        "experiment-same-second",
        "Changes in the same second as the bookmark are never picked up",
        "Windows overlap, and their bounds are included.",
        tests(_END_TO_END, "a_change_in_the_very_second_of_the_watermark_is_picked_up"),
    ),
    Row(
        "experiment-truncated",
        "Truncated JSON with status 200 fails the sync, or loses rows and says complete",
        "It is asked for again, and never taken for less.",
        tests(_END_TO_END, "a_truncated_body_with_status_200_loses_nothing")
        + tests("contract/platforms/test_platform_failures", "truncated_replies_never_become_a_shorter_catalog")
        + tests(
            "integration/connector_svc/shopify/test_shopify_bulk", "a_broken_download_is_continued_where_it_broke"
        ),
    ),
    Row(
        "experiment-money",
        "Money is a float or a text; 7.30 becomes 7.3",
        "Money is an exact decimal from the platform's text to the table's numeric.",
        _EXACT + tests(_BATCHES, "prices_weights_and_skus_are_stored_digit_for_digit"),
    ),
    Row("experiment-sku", "00000134000 becomes 134000", "A SKU is text.", _EXACT),
    Row(
        "experiment-weight",
        "0.5 kg is stored as 0 grams",
        "A weight keeps its digits and its unit.",
        _EXACT + tests("unit/connector_svc/shopify/test_shopify_parse", "a_weight_never_passes_through_a_float"),
    ),
    Row(
        "experiment-memory",
        "229 MB to 2.4 GB as rows grow; the state grows with the square of the products",
        "Buffers, files and checkpoints are bounded.",
        tests("contract/platforms/test_platform_resume", "no_checkpoint_holds_a_secret_or_grows_with_the_catalog")
        + tests("unit/connector_svc/shopify/test_shopify_bulk_join", "memory_does_not_grow_with_the_file"),
    ),
    Row(
        "experiment-parent",
        "Variations carry no id of their parent",
        "Every item carries its product's id.",
        tests(
            "contract/platforms/test_platform_pass",
            "every_item_has_its_product_price_sku_and_stock",
        ),
    ),
    Row(
        "experiment-throttled",
        "One THROTTLED answer fails the stream; half of all calls are throttled",
        "It is waited out; normal runs meet none.",
        tests(_END_TO_END, "one_throttled_answer_fails_nothing")
        + tests(
            "integration/connector_svc/shopify/test_shopify_rate_limiting",
            "nearly_all_points_are_used_and_no_call_is_throttled",
        ),
    ),
    Row(
        "experiment-100-variants",
        "variants(first: 100) lost 300 rows and said done",
        "A product is whole only when its variants are as many as it counts.",
        tests(
            "unit/connector_svc/shopify/test_shopify_variant_drain",
            "a_long_product_is_drained_to_its_last_variant",
        )
        + tests("e2e/test_catalogs_arrive", "a_product_with_more_variants_than_a_page_arrives_whole"),
    ),
    Row(
        "experiment-progress",
        "After kill -9 progress claims 21,040 items for 10,480 rows",
        "Progress is stored with the batch that it counts, and is the same after any break.",
        _RESUMED + tests(_BATCHES, "products_checkpoint_and_progress_are_one_transaction"),
    ),
    Row(
        "experiment-latency",
        "At 200 ms a call 2,000 variants take 410 s",
        "What costs is the number of calls, and calls are few.",
        tests(_END_TO_END, "a_slow_shop_needs_few_calls"),
    ),
)
