"""Webhook deliveries recorded from real stores; tests/data/woocommerce_webhooks/README.md says how."""

from __future__ import annotations

import base64
import csv
import json
import lzma
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = Path(__file__).parents[2] / "data" / "woocommerce_webhooks"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedDelivery:
    """A delivery as the store sent it."""

    name: str
    """Version, scenario, number and topic."""
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    secret_given: str | None
    secret_stored: str | None
    """None for a ping, which has none."""
    made_with: tuple[str, ...]
    """The forms of the secret that make the signature."""

    @property
    def is_ping(self) -> bool:
        return self.secret_stored is None

    @property
    def topic(self) -> str:
        return dict(self.headers).get("X-WC-Webhook-Topic", "")


def recorded_deliveries() -> tuple[RecordedDelivery, ...]:
    """Return all deliveries of both versions, sorted by name."""
    lines = lzma.decompress((_DIRECTORY / "deliveries.jsonl.xz").read_bytes()).splitlines()
    return tuple(map(_delivery, map(json.loads, lines)))


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedDelivery:
    """A delivery that came, whether or not its bytes were kept."""

    store: str
    scenario: str
    topic: str
    signed: bool
    kept: bool


def indexed_deliveries() -> tuple[IndexedDelivery, ...]:
    """Return all deliveries that came."""
    text = lzma.decompress((_DIRECTORY / "index.tsv.xz").read_bytes()).decode()
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return tuple(
        IndexedDelivery(
            store=row["store"],
            scenario=row["scenario"],
            topic=row["topic"],
            signed=row["signed"] == "yes",
            kept=row["kept"] == "yes",
        )
        for row in rows
        if row["kept"] != "-"
    )


def recorded_delivery(name: str) -> RecordedDelivery:
    """Return the one delivery whose name begins with `name`."""
    (found,) = (one for one in recorded_deliveries() if one.name.startswith(name))
    return found


def _delivery(line: dict[str, object]) -> RecordedDelivery:
    headers, given, stored, made_with = (
        line[name] for name in ("headers", "secret_given", "secret_stored", "made_with")
    )
    assert isinstance(headers, list)
    assert isinstance(made_with, list)
    return RecordedDelivery(
        name=str(line["name"]),
        target=str(line["target"]),
        headers=tuple((str(name), str(value)) for name, value in headers),
        body=base64.b64decode(str(line["body_base64"])),
        secret_given=given if isinstance(given, str) else None,
        secret_stored=stored if isinstance(stored, str) else None,
        made_with=tuple(map(str, made_with)),
    )
