"""`make check` refuses a migration that blocks the replicas that run, except in the first revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint_migrations import lint, main, render_migrations

_TEMPLATE = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down_revision!r}


def upgrade() -> None:
{body}
"""
_FIRST = """
    op.create_table("shop", sa.Column("shop_id", sa.UUID()), sa.Column("kept_days", sa.Integer()))
    op.create_index("shop_by_days", "shop", ["kept_days"])
"""
_CONCURRENT_INDEX = """
    with op.get_context().autocommit_block():
        op.create_index("shop_days", "shop", ["kept_days"], postgresql_concurrently=True, if_not_exists=True)
"""


def versions(directory: Path, *bodies: str) -> Path:
    """Write migrations with these bodies, each after the one before, and return their directory."""
    for number, body in enumerate(bodies, start=1):
        previous = f"{number - 1:04}" if number > 1 else None
        content = _TEMPLATE.format(revision=f"{number:04}", down_revision=previous, body=body.strip("\n"))
        (directory / f"{number:04}_step.py").write_text(content)
    return directory


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ('    op.create_index("shop_days", "shop", ["kept_days"])', "require-concurrent-index-creation"),
        ('    op.alter_column("shop", "kept_days", type_=sa.BigInteger())', "changing-column-type"),
        ('    op.alter_column("shop", "kept_days", nullable=False)', "adding-not-nullable-field"),
        ('    op.drop_column("shop", "kept_days")', "ban-drop-column"),
        ('    op.alter_column("shop", "kept_days", new_column_name="days")', "renaming-column"),
        ('    op.create_check_constraint("days", "shop", "kept_days > 0")', "constraint-missing-not-valid"),
        ('    op.add_column("shop", sa.Column("visits", sa.Integer()))', "prefer-bigint-over-int"),
    ],
)
def test_a_later_migration_that_blocks_others_is_refused(tmp_path: Path, body: str, rule: str) -> None:
    rendered = render_migrations(versions(tmp_path, _FIRST, body))
    assert [(migration.revision, migration.is_first) for migration in rendered] == [
        ("0001", True),
        ("0002", False),
    ]
    report = lint(rendered)
    assert f": {rule} " in report
    assert "0001.sql" not in report


def test_an_index_that_is_built_concurrently_is_accepted(tmp_path: Path) -> None:
    rendered = render_migrations(versions(tmp_path, _FIRST, _CONCURRENT_INDEX))
    assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS shop_days" in rendered[1].sql
    assert lint(rendered) == ""


def test_the_exit_code_says_whether_there_are_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().out
    assert main([str(versions(tmp_path, _FIRST, '    op.drop_table("shop")'))]) == 1
    assert "ban-drop-table" in capsys.readouterr().out
