"""Measures the query cost of each way to read a Shopify shop, and which share of the restored points it uses."""
