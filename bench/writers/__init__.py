"""Ways to bring the same batches into `product` and `item`: ours, two that are common, and the limit."""
