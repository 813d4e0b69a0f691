"""Where the catalog lives: tables, stores and the bulk writer over PostgreSQL."""
