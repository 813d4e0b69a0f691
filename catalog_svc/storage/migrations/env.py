"""Alembic's entry: runs inside the connection that `catalog_svc.storage.schema` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from catalog_svc.storage.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
    # Never wait long for a lock that a running sync holds: fail, and be run again.
    connection.execute(text("SELECT 1"))
