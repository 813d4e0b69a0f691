"""`python -m connector_svc`: runs the connector with the settings of the environment."""

from __future__ import annotations

import asyncio
import logging
import sys

from catalogsync_common.logs import configure_logging
from catalogsync_common.process import run
from catalogsync_common.settings import load_settings, unknown_settings

from connector_svc.bootstrap import serve
from connector_svc.settings import ConnectorSettings

_log = logging.getLogger("connector_svc")


async def main(stop: asyncio.Event) -> None:
    """Serves until told to stop."""
    settings = load_settings(ConnectorSettings)
    configure_logging(settings.log_level, "connector", log_format=settings.log_format)
    for warning in unknown_settings(ConnectorSettings):
        _log.warning("%s", warning)
    await serve(settings, stop)


if __name__ == "__main__":
    sys.exit(run(main))
