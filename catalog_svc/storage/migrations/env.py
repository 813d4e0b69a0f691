"""Alembic's entry: runs inside the connection that `catalog_svc.storage.schema` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from catalog_svc.storage.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
