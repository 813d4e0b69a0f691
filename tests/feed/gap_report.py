"""What was committed during the gap experiment, and what its followers have read of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Final

import asyncpg
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.feed.gap_readers import Batch, Change, ChangesFollower, ItemsFollower, NumberReader

AnyFollower = ItemsFollower | ChangesFollower
Cells = tuple[str, Decimal | None, int, bool]
"""Product, price, position of an item, and whether it is deleted."""

_CHANGES: Final = "SELECT number, shop_id::text AS shop_id, item_id, feed_position FROM gap_journal"
_EVENTS: Final = "SELECT shop_id::text AS shop_id, feed_position FROM change_event WHERE sync_id IS NULL"
_HEADS: Final = "SELECT shop_id::text AS shop_id, feed_position FROM shop_state"
_ITEMS: Final = """
    SELECT shop_id::text AS shop_id, item_id, product_id, price, feed_position, deleted_at IS NOT NULL AS deleted
    FROM item"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What was committed."""

    changes: set[Change]
    numbers: set[int]
    """Of these changes in the journal."""
    batches: set[Batch]
    """Each position of a shop is one transaction that was committed."""
    items: Mapping[str, Mapping[str, Cells]]
    """The stored items by shop and id."""
    violations: Sequence[str]
    """Transactions without an event, and events without a transaction."""

    def missing(self, items: Sequence[ItemsFollower], changes: Sequence[ChangesFollower]) -> Missing:
        """Return what followers have not read."""
        return Missing(
            changes=[
                (follower, {change for change in self.changes if change[0] == follower.shop_id})
                for follower in items
            ],
            batches=[(follower, set(self.batches)) for follower in changes],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """What each follower has not read, as of the last call of `all_read`."""

    changes: Sequence[tuple[ItemsFollower, set[Change]]]
    batches: Sequence[tuple[ChangesFollower, set[Batch]]]

    def all_read(self) -> bool:
        """Remove what was read meanwhile; return whether nothing is left."""
        for items, changes in self.changes:
            changes -= {change for change in changes if items.has(change)}
        for follower, batches in self.batches:
            batches -= follower.batches
        return not any(left for _, left in self.changes) and not any(left for _, left in self.batches)


async def read_truth(connection: asyncpg.Connection) -> Truth:
    """Return what is committed."""
    journal = await connection.fetch(_CHANGES)
    heads = {row["shop_id"]: row["feed_position"] for row in await connection.fetch(_HEADS)}
    items: dict[str, dict[str, Cells]] = {shop_id: {} for shop_id in heads}
    for row in await connection.fetch(_ITEMS):
        cells = (row["product_id"], row["price"], row["feed_position"], row["deleted"])
        items[row["shop_id"]][row["item_id"]] = cells
    events: set[Batch] = {(row["shop_id"], row["feed_position"]) for row in await connection.fetch(_EVENTS)}
    batches = {(shop_id, position) for shop_id, head in heads.items() for position in range(1, head + 1)}
    return Truth(
        changes={(row["shop_id"], row["item_id"], row["feed_position"]) for row in journal},
        numbers={row["number"] for row in journal},
        batches=batches,
        items=items,
        violations=[f"the events and the positions of the shops differ in {one}" for one in events ^ batches],
    )


@dataclass(kw_only=True)
class GapReport:
    """What was committed, and what was lost."""

    changes: int = 0
    """Changed items that were committed, each by one transaction."""
    batches: int = 0
    """Transactions that changed items."""
    superseded: int = 0
    """Changes that each follower has read in a later state only."""
    rolled_back: int = 0
    kills: int = 0
    crashes: int = 0
    replica_kills: int = 0
    reconnects: int = 0
    lost_items: dict[str, int] = field(default_factory=dict)
    """Changes that a follower of WatchItems has not read, by replica."""
    lost_batches: dict[str, int] = field(default_factory=dict)
    """Transactions that a follower of WatchChanges has not read, by replica."""
    control_lost: int = 0
    """Changes that the reader by a sequence has not read."""
    violations: list[str] = field(default_factory=list)
    """What may not happen beside losses."""

    def compare(
        self,
        truth: Truth,
        items: Sequence[ItemsFollower],
        changes: Sequence[ChangesFollower],
        control: NumberReader,
    ) -> None:
        """Count what is lost."""
        self.changes, self.batches = len(truth.changes), len(truth.batches)
        self.superseded = len(truth.changes) - len({(shop_id, item_id) for shop_id, item_id, _ in truth.changes})
        missing = truth.missing(items, changes)
        missing.all_read()
        for follower, lost_changes in missing.changes:
            self.lost_items[follower.name] = self.lost_items.get(follower.name, 0) + len(lost_changes)
        self.lost_batches = {one.name: len(truth.batches - one.batches) for one in changes}
        self.control_lost = len(truth.numbers - control.numbers)
        self.violations += truth.violations
        for mirror in items:
            self.violations += _differences(mirror, truth.items[mirror.shop_id])
        for one in changes:
            self.violations += [f"{one.name} has read {batch}" for batch in one.batches - truth.batches]
        followers: list[AnyFollower] = [*items, *changes]
        for reader in followers:
            self.reconnects += reader.reconnect_count
            self.violations += reader.violations

    @property
    def lost(self) -> int:
        """Everything that followers of the feeds have lost."""
        return sum(self.lost_items.values()) + sum(self.lost_batches.values())

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, except by the control: otherwise the experiment shows nothing."""
        return not self.lost and not self.violations and self.control_lost > 0

    def as_json(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps({**asdict(self), "lost": self.lost})

    def summary_line(self) -> str:
        """Return the most important counts as one line of text."""
        share = self.control_lost / self.changes if self.changes else 0
        return (
            f"feed-gap: {self.changes} changes by {self.batches} transactions, {self.rolled_back} rolled back; "
            f"{self.kills} kills of writers, {self.replica_kills} of replicas, {self.crashes} stops of "
            f"PostgreSQL; lost: {self.lost}; "
            f"lost by the control: {self.control_lost} ({share:.1%}); {len(self.violations)} violations"
        )


def _differences(follower: ItemsFollower, stored: Mapping[str, Cells]) -> list[str]:
    """Describe the items of a mirror that differ from the stored ones."""
    mirrored = {item_id: _cells(item) for item_id, item in follower.items.items()}
    return [
        f"{follower.name}: {item_id} is {mirrored.get(item_id)}, stored {stored.get(item_id)}"
        for item_id in sorted(stored.keys() | mirrored.keys())
        if mirrored.get(item_id) != stored.get(item_id)
    ]


def _cells(item: pb.Item) -> Cells:
    price = Decimal(item.price.amount) if item.HasField("price") else None
    return item.product_id, price, item.feed_position, item.HasField("delete_time")
