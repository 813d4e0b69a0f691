"""`python -m catalog_svc` runs catalog_svc; `migrate` migrates its database schema, `doctor` checks its settings,
its database and its connection to connector_svc."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from catalogsync_common.diagnosis import run_doctor
from catalogsync_common.logs import configure_logging
from catalogsync_common.process import run
from catalogsync_common.settings import load_settings, unknown_settings

from catalog_svc import bootstrap
from catalog_svc.doctor import diagnose
from catalog_svc.settings import CatalogSettings

_log = logging.getLogger("catalog_svc")


async def serve(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    await bootstrap.serve(_settings(), stop)


async def migrate(stop: asyncio.Event) -> None:
    """Migrate the schema and return."""
    version = await bootstrap.migrate(_settings())
    _log.info("schema is at %s", version)


def _settings() -> CatalogSettings:
    settings = load_settings(CatalogSettings)
    configure_logging(settings.log_level, "catalog", log_format=settings.log_format)
    for warning in unknown_settings(CatalogSettings):
        _log.warning("%s", warning)
    return settings


def main() -> int:
    """Run the requested command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m catalog_svc", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "migrate", "doctor"], default="serve")
    parser.add_argument("--json", action="store_true", help="doctor: print a JSON document per check")
    arguments = parser.parse_args()
    command: str = arguments.command
    if command == "doctor":
        return run_doctor(diagnose(), as_json=arguments.json)
    return run(migrate if command == "migrate" else serve)


if __name__ == "__main__":
    sys.exit(main())
