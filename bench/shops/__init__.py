"""Measures how soon small shops are synced, alone and beside a large shop that is synced at the same time."""
