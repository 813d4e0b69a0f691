"""A journal of all changes of the `sync` rows, written by triggers in the transactions that change them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from uuid import UUID

import asyncpg

_SCHEMA = """
CREATE TABLE chaos_journal (
    n bigserial PRIMARY KEY, at double precision NOT NULL, txid bigint NOT NULL, port int, sync_id uuid NOT NULL,
    state text NOT NULL, mode text NOT NULL, epoch bigint NOT NULL, owner uuid, revision bigint NOT NULL,
    next_seq bigint NOT NULL, checkpoint text NOT NULL, products_seen bigint NOT NULL,
    products_created bigint NOT NULL, products_rejected bigint NOT NULL);
CREATE TABLE chaos_seen (txid bigint NOT NULL, pass_id uuid NOT NULL, added bigint NOT NULL);

CREATE FUNCTION chaos_record(entry sync, seq bigint) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO chaos_journal (at, txid, port, sync_id, state, mode, epoch, owner, revision, next_seq,
                               checkpoint, products_seen, products_created, products_rejected)
    SELECT extract(epoch FROM clock_timestamp()), txid_current(), inet_client_port(), entry.sync_id, entry.state,
        entry.mode, entry.epoch, (SELECT owner FROM sync_queue WHERE sync_queue.sync_id = entry.sync_id),
        entry.revision, seq, md5(entry.checkpoint), entry.products_seen, entry.products_created,
        entry.products_rejected;
$$;

CREATE FUNCTION chaos_record_sync() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF TG_OP = 'INSERT'
        OR (OLD.state, OLD.epoch, OLD.revision) IS DISTINCT FROM (NEW.state, NEW.epoch, NEW.revision) THEN
        PERFORM chaos_record(NEW, (SELECT next_seq FROM shop_state WHERE shop_id = NEW.shop_id));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_record_sync AFTER INSERT OR UPDATE ON sync
    FOR EACH ROW EXECUTE FUNCTION chaos_record_sync();

CREATE FUNCTION chaos_record_fence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    PERFORM chaos_record(sync, NEW.next_seq) FROM sync
    WHERE sync.shop_id = NEW.shop_id AND sync.sync_id = NEW.active_sync_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_record_fence AFTER UPDATE ON shop_state
    FOR EACH ROW WHEN (OLD.next_seq <> NEW.next_seq) EXECUTE FUNCTION chaos_record_fence();

CREATE FUNCTION chaos_count_seen() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO chaos_seen (txid, pass_id, added)
    SELECT txid_current(), pass_id, count(*) FROM added GROUP BY pass_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_count_seen AFTER INSERT ON sync_seen REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION chaos_count_seen();
"""


_ENTRIES = """
    SELECT *, coalesce((
        SELECT sum(added)::bigint FROM chaos_seen WHERE chaos_seen.txid = chaos_journal.txid), 0) AS added
    FROM chaos_journal ORDER BY n"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The row of a sync after one change."""

    at: float
    """Unix time by PostgreSQL's clock, which is this machine's clock."""
    txid: int
    port: int | None
    """The client's port of the connection that wrote the change."""
    sync_id: UUID
    state: str
    mode: str
    epoch: int
    owner: UUID | None
    revision: int
    next_seq: int
    checkpoint: str
    products_seen: int
    products_created: int
    products_rejected: int
    added: int
    """Number of product ids that the transaction added to the ids seen by the pass."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state not in ("PENDING", "RUNNING")


class ConnectionRegistry:
    """Maps database connections to the replica processes that opened them.

    Each replica has its own proxy in front of PostgreSQL, so that the proxy knows whose connection it opens.
    """

    def __init__(self) -> None:
        self._by_port: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)

    def register(self, port: int, identity: str, at: float) -> None:
        """Record that the process `identity` opened a connection from `port` at the Unix time `at`."""
        self._by_port[port].append((at, identity))

    def writer(self, entry: Entry) -> str | None:
        """Return the identity of the process that wrote the entry; None: its connection used no proxy."""
        known = self._by_port.get(entry.port or -1, [])
        return next((identity for at, identity in reversed(known) if at <= entry.at), None)


async def install(connection: asyncpg.Connection) -> None:
    """Create the journal's tables and triggers."""
    await connection.execute(_SCHEMA)


async def read(connection: asyncpg.Connection) -> dict[UUID, list[Entry]]:
    """Return the history of each sync in commit order."""
    histories: defaultdict[UUID, list[Entry]] = defaultdict(list)
    # `n` is drawn while the row of the sync or of its shop is locked, so that its order is the commit order.
    for row in await connection.fetch(_ENTRIES):
        values = {name: row[name] for name in Entry.__dataclass_fields__}
        histories[row["sync_id"]].append(Entry(**values))
    return dict(histories)


def violations(histories: Mapping[UUID, Sequence[Entry]], connections: ConnectionRegistry) -> list[str]:
    """Return a description of everything in the histories that must never happen."""
    return [
        f"sync {sync_id}: {violation}"
        for sync_id, entries in histories.items()
        for violation in (
            *_transition_violations(entries),
            *_writer_violations(entries, connections),
            *_batch_violations(entries),
        )
    ]


def _transition_violations(entries: Sequence[Entry]) -> list[str]:
    found = []
    for before, after in pairwise(entries):
        # A claim that found the shop locked has used an epoch.
        if after.epoch < before.epoch:
            found.append(f"epoch went from {before.epoch} to {after.epoch}")
        for name in ("revision", "next_seq"):
            old, new = getattr(before, name), getattr(after, name)
            if new - old not in (0, 1):
                found.append(f"{name} went from {old} to {new}")
        if before.ended:
            found.append(f"changed after it was {before.state}")
    return found


def _writer_violations(entries: Sequence[Entry], connections: ConnectionRegistry) -> list[str]:
    """Describe batches that were written by another process than the one that made the last claim."""
    found = []
    owner: str | None = None
    for before, after in pairwise(entries):
        if after.epoch > before.epoch and not after.ended:
            owner = connections.writer(after)
        elif after.next_seq > before.next_seq and (writer := connections.writer(after)) != owner:
            found.append(f"batch {after.next_seq} was written by {writer} while {owner} held epoch {after.epoch}")
    return found


def _batch_violations(entries: Sequence[Entry]) -> list[str]:
    """Describe batches that were stored twice, and batches without a new revision for the watchers."""
    found: list[str] = []
    transactions = _transactions(entries)
    checkpoints: dict[str, int] = {}
    for before, after in transactions:
        if after.next_seq == before.next_seq or not _is_batch(before, after):
            continue
        if after.revision != before.revision + 1:
            found.append(f"batch {after.next_seq} changed the revision from {before.revision} to {after.revision}")
        if after.checkpoint in checkpoints and not _is_reconciliation(before, after):
            found.append(
                f"batches {checkpoints[after.checkpoint]} and {after.next_seq} end at the same checkpoint"
            )
        checkpoints[after.checkpoint] = after.next_seq
    fenced = sum(after.next_seq > before.next_seq for before, after in transactions)
    expected = entries[-1].next_seq - entries[0].next_seq
    if fenced != expected:
        found.append(f"{fenced} fenced transactions were stored, next_seq went up by {expected}")
    return found


def _transactions(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return the row before and after each transaction except the one that created the row."""
    lasts = [list(group)[-1] for _, group in groupby(entries, key=lambda entry: entry.txid)]
    return list(pairwise(lasts))


def _is_reconciliation(before: Entry, after: Entry) -> bool:
    """Return whether the batch read products by id after the pass, which does not change the checkpoint.

    All its products are ones that the pass had not seen, or all are ones that the catalog did not have. A batch
    that is stored twice has neither.
    """
    products = after.products_seen - before.products_seen
    created = after.products_created - before.products_created
    return after.checkpoint == before.checkpoint and (after.added >= products or created >= products)


def recounted_batches(entries: Sequence[Entry]) -> list[str]:
    """Describe the batches that counted more or fewer products than they added to those seen by the pass."""
    return [
        f"batch {after.next_seq} counted {counted} products and added {after.added}"
        for before, after in _transactions(entries)
        if (counted := _counted(after) - _counted(before)) > 0 and counted != after.added
    ]


def _counted(entry: Entry) -> int:
    return entry.products_seen + entry.products_rejected


def _is_batch(before: Entry, after: Entry) -> bool:
    """Return False for a step of the sweep, which stores no products and does not change the checkpoint."""
    return after.checkpoint != before.checkpoint or after.products_seen != before.products_seen
