"""Measures how soon the catalog answers, starts and cancels syncs, idle and under load."""
