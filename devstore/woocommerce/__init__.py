"""The WooCommerce API: REST wc/v3 as WooCommerce 8.2 answers, and as 10.3 with its list of all variations."""
