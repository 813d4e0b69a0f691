"""Responses recorded from real WooCommerce stores.

8.2.2: tests/data/woocommerce/README.md; 10.5.0: tests/data/woocommerce_10_5/README.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parents[2] / "data"
DATA = _DATA / "woocommerce"
DATA_10_5 = _DATA / "woocommerce_10_5"
_TRANSPORT_HEADERS = frozenset({"transfer-encoding", "connection", "content-encoding", "content-length"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedReply:
    """A response as the store sent it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def recorded(name: str, data: Path = DATA) -> RecordedReply:
    """Return the recording `name`; `data`: the directory of a version, 8.2.2 by default."""
    response = json.loads((data / f"{name}.json").read_text())["response"]
    if "body_json" in response:
        body = json.dumps(response["body_json"], ensure_ascii=False).encode()
    else:
        body = response.get("body_text", "").encode()
    headers = tuple((key, value) for key, value in response["headers"] if key.lower() not in _TRANSPORT_HEADERS)
    return RecordedReply(status=response["status"], headers=headers, body=body)


def rows(*names: str, data: Path = DATA) -> list[dict[str, Any]]:
    """Return the records of some recordings in order."""
    found: list[dict[str, Any]] = []
    for name in names:
        body = recorded(name, data).json()
        found += body if isinstance(body, list) else [body]
    return found
