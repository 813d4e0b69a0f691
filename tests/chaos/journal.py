"""Everything that ever happened to a sync, written by triggers of ours in the very transactions that did it."""

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
    products_created bigint NOT NULL, products_set_aside bigint NOT NULL);
CREATE TABLE chaos_seen (txid bigint NOT NULL, pass_id uuid NOT NULL, added bigint NOT NULL);

CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' OR (OLD.state, OLD.epoch, OLD.revision, OLD.next_seq, OLD.owner)
                           IS DISTINCT FROM (NEW.state, NEW.epoch, NEW.revision, NEW.next_seq, NEW.owner) THEN
        INSERT INTO chaos_journal (at, txid, port, sync_id, state, mode, epoch, owner, revision, next_seq,
                                   checkpoint, products_seen, products_created, products_set_aside)
        VALUES (extract(epoch FROM clock_timestamp()), txid_current(), inet_client_port(), NEW.sync_id, NEW.state,
                NEW.mode, NEW.epoch, NEW.owner, NEW.revision, NEW.next_seq, md5(NEW.checkpoint),
                NEW.products_seen, NEW.products_created, NEW.products_set_aside);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_note AFTER INSERT OR UPDATE ON sync FOR EACH ROW EXECUTE FUNCTION chaos_note();

CREATE FUNCTION chaos_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_seen (txid, pass_id, added)
    SELECT txid_current(), pass_id, count(*) FROM added GROUP BY pass_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_count AFTER INSERT ON sync_seen REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION chaos_count();
"""


_ENTRIES = """
    SELECT *, coalesce((
        SELECT sum(added)::bigint FROM chaos_seen WHERE chaos_seen.txid = chaos_journal.txid), 0) AS added
    FROM chaos_journal ORDER BY n"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A sync's row after one change of it."""

    at: float
    """Unix time, by PostgreSQL's clock: the machine's own."""
    txid: int
    port: int | None
    """Of the client's side of the connection that wrote it."""
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
    products_set_aside: int
    added: int
    """Ids that its transaction added to those that the pass has met."""

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return self.state not in ("PENDING", "RUNNING")


class Writers:
    """Which life of which replica had which connection: a proxy of its own stands before each."""

    def __init__(self) -> None:
        self._by_port: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)

    def opened(self, port: int, identity: str, at: float) -> None:
        """A connection was made."""
        self._by_port[port].append((at, identity))

    def of(self, entry: Entry) -> str | None:
        """Who wrote it; None when it did not come through a proxy."""
        known = self._by_port.get(entry.port or -1, [])
        return next((identity for at, identity in reversed(known) if at <= entry.at), None)


async def install(connection: asyncpg.Connection) -> None:
    """Starts writing down."""
    await connection.execute(_SCHEMA)


async def read(connection: asyncpg.Connection) -> dict[UUID, list[Entry]]:
    """The history of each sync, in the order in which it was committed."""
    histories: defaultdict[UUID, list[Entry]] = defaultdict(list)
    # Numbers are drawn while the sync's row is locked, so that their order is that of the commits.
    for row in await connection.fetch(_ENTRIES):
        values = {name: row[name] for name in Entry.__dataclass_fields__}
        histories[row["sync_id"]].append(Entry(**values))
    return dict(histories)


def faults(histories: Mapping[UUID, Sequence[Entry]], writers: Writers) -> list[str]:
    """What no history may show."""
    return [
        f"sync {sync_id}: {fault}"
        for sync_id, entries in histories.items()
        for fault in (*_steps(entries), *_writers(entries, writers), *_batches(entries))
    ]


def _steps(entries: Sequence[Entry]) -> list[str]:
    found = []
    for before, after in pairwise(entries):
        for name in ("epoch", "revision", "next_seq"):
            old, new = getattr(before, name), getattr(after, name)
            if new - old not in (0, 1):
                found.append(f"{name} went from {old} to {new}")
        if before.ended:
            found.append(f"changed after it was {before.state}")
    return found


def _writers(entries: Sequence[Entry], writers: Writers) -> list[str]:
    """Batches of somebody who had not made the last claim."""
    found = []
    owner: str | None = None
    for before, after in pairwise(entries):
        if after.epoch > before.epoch and not after.ended:
            owner = writers.of(after)
        elif after.next_seq > before.next_seq and (writer := writers.of(after)) != owner:
            found.append(f"batch {after.next_seq} was written by {writer} while {owner} held epoch {after.epoch}")
    return found


def _batches(entries: Sequence[Entry]) -> list[str]:
    """Batches applied twice, and batches that watchers were not told of."""
    found: list[str] = []
    steps = _steps_of_transactions(entries)
    checkpoints: dict[str, int] = {}
    for before, after in steps:
        if after.next_seq == before.next_seq or not _is_batch(before, after):
            continue
        if after.revision != before.revision + 1:
            found.append(f"batch {after.next_seq} moved the revision from {before.revision} to {after.revision}")
        if after.checkpoint in checkpoints and not _is_reconciliation(before, after):
            found.append(
                f"batches {checkpoints[after.checkpoint]} and {after.next_seq} end at the same checkpoint"
            )
        checkpoints[after.checkpoint] = after.next_seq
    fenced = sum(after.next_seq > before.next_seq for before, after in steps)
    if fenced != entries[-1].next_seq:
        found.append(f"{fenced} steps were stored, next_seq is {entries[-1].next_seq}")
    return found


def _steps_of_transactions(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """The row before and after each transaction but the one that made it."""
    lasts = [list(group)[-1] for _, group in groupby(entries, key=lambda entry: entry.txid)]
    return list(pairwise(lasts))


def _is_reconciliation(before: Entry, after: Entry) -> bool:
    """Whether the batch read products by id after the pass, which leaves its checkpoint where it was.

    Each of them is one that the pass had not met, or one that the catalog lacked: a batch that is stored twice
    brings neither.
    """
    products = after.products_seen - before.products_seen
    created = after.products_created - before.products_created
    return after.checkpoint == before.checkpoint and (after.added >= products or created >= products)


def repeats(entries: Sequence[Entry]) -> list[str]:
    """The batches that counted other products than they added to those that the pass has seen."""
    return [
        f"batch {after.next_seq} counted {counted} products and added {after.added}"
        for before, after in _steps_of_transactions(entries)
        if (counted := _counted(after) - _counted(before)) > 0 and counted != after.added
    ]


def _counted(entry: Entry) -> int:
    return entry.products_seen + entry.products_set_aside


def _is_batch(before: Entry, after: Entry) -> bool:
    """Not a step of the sweep, which stores no products and leaves the checkpoint where it is."""
    return after.checkpoint != before.checkpoint or after.products_seen != before.products_seen
