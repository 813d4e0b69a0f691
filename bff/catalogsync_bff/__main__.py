"""Run the BFF with the settings of the environment: `python -m catalogsync_bff`."""

from __future__ import annotations

import asyncio
import logging
import sys

from catalogsync_common.logs import configure_logging
from catalogsync_common.process import run
from catalogsync_common.settings import load_settings, unknown_settings

from catalogsync_bff.bootstrap import serve
from catalogsync_bff.settings import BffSettings

_log = logging.getLogger("catalogsync_bff")


async def main(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    settings = load_settings(BffSettings)
    configure_logging(settings.log_level, "bff", log_format=settings.log_format)
    for warning in unknown_settings(BffSettings):
        _log.warning("%s", warning)
    await serve(settings, stop)


if __name__ == "__main__":
    sys.exit(run(main))
