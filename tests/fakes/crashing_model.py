"""A model for examples/analysis-worker that ends its process when an image says so."""

from __future__ import annotations

import os
from decimal import Decimal

from image_quality import Assessment, Fingerprint

CRASH = b"crash"


class CrashingModel:
    """Returns the id of its process as the width."""

    def assess(self, content: bytes) -> Assessment:
        if content == CRASH:
            os._exit(1)
        return Assessment(
            quality_score=Decimal(1),
            confidence_score=Decimal(1),
            components=(),
            width=os.getpid(),
            height=0,
            colors=(),
            fingerprint=Fingerprint(bits=0, color=(0, 0, 0)),
        )
