"""Simulated Shopify, WooCommerce, BigCommerce and feed shops: for the demo, the tests and the benchmarks."""
