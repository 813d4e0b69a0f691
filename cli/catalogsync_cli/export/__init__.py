"""Files of a shop's items: rows, and their formats."""
