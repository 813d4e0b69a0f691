"""Lints the SQL of the migrations with squawk, without a database: `python -m tests.lint_migrations`.

A migration runs while replicas write. So it must neither lock a table for long (an index without CONCURRENTLY, a
constraint that is validated at once, a column that changes its type) nor take away what an older release uses. The
first migration is exempt from the rules about tables in use: its tables are new.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from catalog_svc.storage import migrations

MIGRATIONS: Final = Path(migrations.__file__).parent
SQUAWK: Final = Path(sys.executable).parent / "squawk"

_OLDEST_POSTGRESQL: Final = "15"
_SESSION: Final = "SET lock_timeout = '10s';\nSET statement_timeout = 0;\n"
"""What `migrate` sets before the first migration."""
_EXCLUDED_FROM_FIRST: Final = (
    # Counts of one product or one sync fit into 32 bits.
    "prefer-bigint-over-int",
    # alembic_version.
    "prefer-text-field",
)
"""Rules that the first migration need not follow; all later ones follow all rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One migration as SQL."""

    revision: str
    is_first: bool
    sql: str


def render_migrations(versions: Path = MIGRATIONS / "versions") -> list[Migration]:
    """Return the migrations of a directory as SQL, oldest first; no database is needed."""
    scripts = ScriptDirectory.from_config(_config(versions))
    rendered = []
    for script in reversed(list(scripts.walk_revisions())):
        output = StringIO()
        first = script.down_revision is None
        steps = script.revision if first else f"{script.down_revision}:{script.revision}"
        command.upgrade(_config(versions, output), steps, sql=True)
        rendered.append(Migration(revision=script.revision, is_first=first, sql=_SESSION + output.getvalue()))
    return rendered


def lint(rendered: Iterable[Migration]) -> str:
    """Return what squawk reports about these migrations; empty: nothing."""
    with TemporaryDirectory() as directory:
        return "".join(_lint(migration, Path(directory)) for migration in rendered)


def _lint(migration: Migration, directory: Path) -> str:
    file = directory / f"{migration.revision}.sql"
    file.write_text(migration.sql)
    arguments = ["--reporter", "gcc", "--pg-version", _OLDEST_POSTGRESQL]
    if migration.is_first:
        arguments += ["--exclude", ",".join(_EXCLUDED_FROM_FIRST)]
    found = subprocess.run(
        [SQUAWK, *arguments, file.name], cwd=directory, capture_output=True, text=True, check=False
    )
    return "" if found.returncode == 0 else found.stdout + found.stderr


def _config(versions: Path, output: StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "os")
    return config


def main(arguments: Sequence[str]) -> int:
    """Lint the migrations of the directory that is given, or those of the catalog; return the exit code."""
    rendered = render_migrations(*map(Path, arguments))
    report = lint(rendered)
    print(report or f"squawk: {len(rendered)} migrations without findings")
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
