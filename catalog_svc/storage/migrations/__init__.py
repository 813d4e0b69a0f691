"""The schema's history: forward only, each step safe while the previous release still runs."""
