"""Latency of reads of a large shop: each filter, and the first, a middle and the last page."""
