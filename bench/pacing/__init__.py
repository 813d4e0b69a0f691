"""Measures the query cost of each way to read a Shopify shop, and how much of the restored points it uses."""
