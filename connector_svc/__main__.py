"""`python -m connector_svc`: runs the connector with the settings of the environment."""

from __future__ import annotations

import asyncio
import logging
import sys

from connector_svc.bootstrap import serve
from connector_svc.settings import ConnectorSettings
from servicekit.logs import configure_logging
from servicekit.process import run
from servicekit.settings import load_settings, unknown_settings

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
