"""What the connector counts, at its ports: HTTP to hosts, and what platforms' readers yield."""
