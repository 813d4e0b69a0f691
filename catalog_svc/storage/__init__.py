"""The catalog in PostgreSQL: tables, migrations, stores and the bulk writer."""
