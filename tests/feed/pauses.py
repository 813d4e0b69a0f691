"""Random pauses of what runs beside a system: of those who use it, and of faults. They order no events."""

from __future__ import annotations

import asyncio
import random


async def pause(least: float, most: float) -> None:
    """Wait for a random number of seconds."""
    await asyncio.sleep(random.uniform(least, most))
