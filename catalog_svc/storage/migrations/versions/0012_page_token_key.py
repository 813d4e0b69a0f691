"""The key that authenticates page tokens, drawn once for each database."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_CREATE: Final = "CREATE TABLE page_token_key (key BYTEA NOT NULL)"

# 244 random bits: PostgreSQL has no other source of them without an extension.
_INSERT: Final = """
    INSERT INTO page_token_key (key)
    SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"""


def upgrade() -> None:
    op.execute(_CREATE)
    op.execute(_INSERT)
