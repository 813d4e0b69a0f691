"""Runs the whole system on one machine, from nothing, and shows it at work."""
