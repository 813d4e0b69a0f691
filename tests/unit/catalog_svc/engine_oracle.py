"""Checks what must always be true of the catalog, against the shop's own record of the batches that it sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from catalog_svc.domain.sync import RecordCounts, SyncMode, SyncState
from tests.fakes.changing_shop import ChangingShop, Position, Version
from tests.fakes.memory_state import State, SyncRow


@dataclass(kw_only=True, slots=True)
class Oracle:
    """Checks every commit. `faults` are collected, since the engine would survive an exception in its database."""

    shop: ChangingShop
    committed: dict[str, Version] = field(default_factory=dict)
    """Products that the catalog must hold as live."""
    seen: dict[object, set[str]] = field(default_factory=dict)
    """Product ids by pass."""
    owners: dict[object, object] = field(default_factory=dict)
    """The replica that claimed a sync last, by sync."""
    faults: list[str] = field(default_factory=list)

    def check_commit(self, before: State, after: State, writer: object) -> None:
        for sync_id, row in after.syncs.items():
            old = before.syncs.get(sync_id)
            if old is None:
                self._check(row.sync.revision == 1, "a new sync begins at revision 1")
            elif row is not old:
                self._check_row(old, row)
                self._check_writer(old, row, writer)
        active = [row for row in after.syncs.values() if not row.sync.state.ended]
        self._check(len(active) <= 1, "one active sync per shop")
        self._check_deletions(before, after, active)

    def check(self, state: State) -> None:
        """Raise AssertionError if a rule was broken."""
        assert self.faults == []
        assert self.live_in(state) == {pid: version.number for pid, version in self.committed.items()}
        items = {iid for (_, iid), item in state.items.items() if not item.deleted}
        assert items == {f"{p}-{n}" for p, v in self.committed.items() for n in range(1, v.items + 1)}
        for shop in state.shops.values():
            if shop.watermark is not None:
                expected = {p: v for p, v in self.shop.products.items() if v.updated <= shop.watermark}
                stored = {p: v for p, v in self.committed.items() if p in expected}
                assert stored == expected, "everything that changed by the watermark is stored"

    def live_in(self, state: State) -> dict[str, int]:
        """Return the versions of the products that the catalog holds as live."""
        return {pid: int(p.record.title) for (_, pid), p in state.products.items() if not p.deleted}

    def _check_row(self, old: SyncRow, row: SyncRow) -> None:
        raised = row.sync.revision - old.sync.revision
        visible = replace(row.sync, revision=0, shop=old.sync.shop) != replace(old.sync, revision=0)
        self._check(raised == 1 if visible else raised in (0, 1), "every change raises the revision by one")
        self._check(0 <= row.epoch - old.epoch <= 1, "epochs never fall")
        self._check(not old.sync.state.ended or not visible, "an ended sync does not change")
        for counts in (row.sync.progress.products, row.sync.progress.items):
            self._check(_adds_up(counts), "seen = created + updated + unchanged")
        if row.checkpoint != old.checkpoint:
            self._check_batches(old, row)
        emitted = Position.of(row.checkpoint).emitted
        self._check(row.sync.progress.products.seen == emitted, "each batch counts once")
        if row.sync.state is SyncState.SUCCEEDED and not old.sync.state.ended:
            self._check_success(row)

    def _check_writer(self, old: SyncRow, row: SyncRow, writer: object) -> None:
        if row.epoch == old.epoch:
            self._check(self.owners[row.sync.sync_id] is writer, "only the latest owner writes")
        else:
            self.owners[row.sync.sync_id] = writer

    def _check_batches(self, old: SyncRow, row: SyncRow) -> None:
        """Follow the batches from the new checkpoint back to the old one: no gap, and no product twice."""
        chain: list[dict[str, Version]] = []
        at = row.checkpoint
        while at != old.checkpoint and at in self.shop.sent:
            chain.append(self.shop.sent[at].products)
            at = self.shop.sent[at].after
        self._check(at == old.checkpoint, "a batch follows the last stored one")
        seen = self.seen.setdefault(row.pass_id, set())
        for products in reversed(chain):
            self._check(seen.isdisjoint(products), "no batch is applied twice")
            seen |= products.keys()
            self.committed.update(products)

    def _check_success(self, row: SyncRow) -> None:
        self._check(row.checkpoint in self.shop.completed, "only a complete pass succeeds")
        if row.sync.mode is SyncMode.FULL:
            began = row.watermark
            assert began is not None
            extra = [
                pid for pid in self.committed if pid not in self.shop.products and self.shop.deleted[pid] <= began
            ]
            self._check(not extra, "a full sync leaves no product that was deleted before it began")

    def _check_deletions(self, before: State, after: State, active: list[SyncRow]) -> None:
        for (_, pid), product in after.products.items():
            old = before.products.get((_, pid))
            if not product.deleted or old is None or old.deleted:
                continue
            rows = [r for r in active if r.sync.mode is SyncMode.FULL and r.checkpoint in self.shop.completed]
            self._check(bool(rows), "only a complete full pass deletes")
            self._check(pid not in self.shop.products, "nothing is deleted that the shop still has")
            self.committed.pop(pid, None)

    def _check(self, holds: bool, rule: str) -> None:
        if not holds:
            self.faults.append(rule)


def _adds_up(counts: RecordCounts) -> bool:
    return counts.seen == counts.created + counts.updated + counts.unchanged
