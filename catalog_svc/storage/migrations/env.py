"""Alembic's entry: runs inside the connection that `catalog_svc.storage.schema` hands over.

Offline (`--sql`) it prints the SQL of the migrations, without a database.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from catalog_svc.storage.tables import metadata

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", target_metadata=metadata, literal_binds=True, transaction_per_migration=True
    )
else:
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
