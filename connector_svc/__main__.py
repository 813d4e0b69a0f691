"""`python -m connector_svc` runs connector_svc; `doctor` checks its settings and its sources of credentials."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from catalogsync_common.diagnosis import run_doctor
from catalogsync_common.logs import configure_logging
from catalogsync_common.process import run
from catalogsync_common.settings import load_settings, unknown_settings

from connector_svc.bootstrap import serve
from connector_svc.doctor import diagnose
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.settings import settings_with_options

_log = logging.getLogger("connector_svc")


async def run_service(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    settings_type = settings_with_options(PLATFORMS)
    settings = load_settings(settings_type)
    configure_logging(settings.log_level, "connector", log_format=settings.log_format)
    for warning in unknown_settings(settings_type):
        _log.warning("%s", warning)
    await serve(settings, stop)


def main() -> int:
    """Run the requested command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m connector_svc", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "doctor"], default="serve")
    parser.add_argument("--json", action="store_true", help="doctor: print a JSON document per check")
    arguments = parser.parse_args()
    if arguments.command == "doctor":
        return run_doctor(diagnose(), as_json=arguments.json)
    return run(run_service)


if __name__ == "__main__":
    sys.exit(main())
