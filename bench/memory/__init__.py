"""Measures the peak memory of the services at 50,000 and 1,000,000 variants."""
