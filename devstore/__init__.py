"""Simulated Shopify, WooCommerce, BigCommerce and feed shops with generated catalogs: for demo, tests, benchmarks."""
