"""Other programs that read the same shops into the same PostgreSQL: dlt, and the legacy services in miniature."""
