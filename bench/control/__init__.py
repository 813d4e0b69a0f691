"""Measures the catalog's control plane: queue, schedules, retention, watch polls and calls with many shops."""
