"""The WooCommerce face: REST wc/v3 as a real 8.2 answers, and as a 10.3 with its additional list."""
