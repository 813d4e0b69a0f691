"""Images of items: fetched from the shop's host, resized, and cached."""
