"""Others that read the same shops into the same PostgreSQL, each in a process of its own."""
