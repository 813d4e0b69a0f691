"""Run the connector with the settings of the environment: `python -m connector_svc`."""

from __future__ import annotations

import asyncio
import logging
import sys

from catalogsync_common.logs import configure_logging
from catalogsync_common.process import run
from catalogsync_common.settings import load_settings, unknown_settings

from connector_svc.bootstrap import serve
from connector_svc.platforms.registry import PLATFORMS
from connector_svc.settings import settings_with_options

_log = logging.getLogger("connector_svc")


async def main(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    settings_type = settings_with_options(PLATFORMS)
    settings = load_settings(settings_type)
    configure_logging(settings.log_level, "connector", log_format=settings.log_format)
    for warning in unknown_settings(settings_type):
        _log.warning("%s", warning)
    await serve(settings, stop)


if __name__ == "__main__":
    sys.exit(run(main))
