"""catalog_svc could run on Citus: every statement that it executes keeps the rules, and every transaction too.

A scenario calls all methods of all stores over a real PostgreSQL, and everything that they execute is recorded;
nothing that stands in the source may be missing from the record.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.roles import FUNCTIONS
from catalog_svc.storage.tables import __doc__ as tables_doc
from catalog_svc.storage.tables import metadata
from tests.architecture.citus.functions import function_statements
from tests.architecture.citus.recorder import LOCKED_TABLES, Executed, Recorder
from tests.architecture.citus.rules import IMMUTABLE, STABLE, VOLATILE, Rule, check
from tests.architecture.citus.scenario import Scenario
from tests.architecture.citus.sources import (
    built_in_functions,
    constants,
    files_with,
    users_of_core,
    users_of_driver,
    users_of_text,
)
from tests.architecture.citus.sql_tree import DIRECTORY_TABLES, SHOP_TABLES
from tests.conftest import execute, with_database

SCALING: Final = Path(__file__).parents[3] / "docs/scaling.md"


@dataclass(frozen=True, slots=True)
class Exemption:
    """A rule that a statement breaks on purpose."""

    rule: Rule
    frequency: str
    why: str


EXEMPTIONS: Final = {
    "syncs._SELECT_BY_IDS[0]": Exemption(
        Rule.NOT_BOUND,
        "after a poll that found new revisions, and for ListSyncs without a shop",
        "the hub reads all changed syncs at once, a hundred shops at a time",
    ),
    "syncs._SELECT_BY_IDS[1]": Exemption(Rule.NOT_BOUND, "as above", "as above"),
    **dict.fromkeys(
        (
            "WITH found AS MATERIALIZED ( SELECT product.product_id FROM matching_products( C",
            "WITH matching_item AS MATERIALIZED ( SELECT item.feed_position, item.product_id,",
        ),
        Exemption(
            Rule.UNKNOWN_FUNCTION,
            "on request: a search for a rare text",
            "made by items and product_reads; on Citus the two functions must be distributed with the tables",
        ),
    ),
    "items._SELECT_FEED": Exemption(
        Rule.UNKNOWN_FUNCTION,
        "with each page of items or products",
        "on Citus present_incarnation must be distributed with the tables; a moved shard is another incarnation",
    ),
    "planner_statistics._SELECT_STATISTICS": Exemption(
        Rule.PG_CLASS,
        "once per succeeded sync",
        "on Citus it always finds 0 rows, so that each sync that creates more than 50 items analyses the tables",
    ),
}
"""Statements that break a rule on purpose, by their name."""

_IN_HUB: Final = Exemption(
    Rule.NOT_BOUND,
    "3.3/s on a replica with watchers",
    "the hub compares the revisions of all watched syncs at once; on Citus a fan-out to all shards",
)
_IN_FEED_HUB: Final = Exemption(
    Rule.NOT_BOUND,
    "4/s on a replica with followers of item feeds",
    "the hub reads the positions of all followed shops at once; on Citus a fan-out to all shards",
)
_IN_CHANGE_HUB: Final = Exemption(
    Rule.NOT_BOUND,
    "4/s on a replica with followers of many shops, up to 10/s while it stores batches; with each page of them",
    "a page from an index by transaction on every shard; the ids are those of the coordinator's transactions",
)
_IN_LISTS: Final = Exemption(
    Rule.NOT_BOUND, "on request: ListSyncs without a shop", "one page from an index by time on every shard"
)
_IN_ROUNDS: Final = Exemption(
    Rule.NOT_BOUND, "once per round, and once per 5,000 deleted rows; one replica", "finds the next shop to purge"
)
_OF_EVENTS: Final = Exemption(
    Rule.NOT_BOUND,
    "once per 5,000 purged change events; one replica",
    "events are purged in the order of their transactions, by an index on every shard",
)
_OF_DEFAULT_PARTITIONS: Final = Exemption(
    Rule.UNKNOWN_TABLE,
    "once per round; one replica",
    "a partition by its own name: rows of months without one, which are deleted by time for all shops",
)
FUNCTION_EXEMPTIONS: Final = {
    "changed_revisions[0]": _IN_HUB,
    "feed_heads[0]": _IN_FEED_HUB,
    "stored_revisions[0]": _IN_HUB,
    "stored_revisions[1]": _IN_HUB,
    **{f"sync_page[{number}]": _IN_LISTS for number in range(1, 6)},
    "find_obsolete_pass[0]": _IN_ROUNDS,
    "find_shop_with_tombstones[0]": _IN_ROUNDS,
    "count_analysis_leases[0]": Exemption(
        Rule.NOT_BOUND,
        "with each attempt to lease tasks of a shop",
        "a worker's leases of all shops, from an index by worker; on Citus a fan-out to all shards",
    ),
    "analysis_backfills[0]": Exemption(
        Rule.NOT_BOUND,
        "every 5 s on each replica",
        "finds the shops whose analyzers have changed, from an index that is empty at most times",
    ),
    "pending_refreshes[0]": Exemption(
        Rule.NOT_BOUND, "every 15 s on each replica", "a metric over the products that wait, of all shops"
    ),
    "change_feed_state[0]": _IN_CHANGE_HUB,
    "change_feed_state[1]": _IN_CHANGE_HUB,
    "change_events[0]": _IN_CHANGE_HUB,
    "purge_change_events[0]": _OF_EVENTS,
    "purge_change_events[2]": _OF_EVENTS,
    "purge_unpartitioned[0]": _OF_DEFAULT_PARTITIONS,
    "purge_unpartitioned[1]": _OF_DEFAULT_PARTITIONS,
}
"""The same within functions."""

WITHOUT_STATEMENTS: Final = {"analyze_catalog", "create_month_partition", "drop_month_partition"}
"""Functions with nothing but DDL, which is for the operator of the cluster."""

NOT_EXECUTABLE: Final = {
    "tables._NOW": "the default of columns",
    "tables._TRANSACTION_ID": "the default of a column",
    "tables._LIVE": "the condition of indexes",
    "tables._DELETED": "the condition of indexes",
}
"""Constants that are no statements, and what they are."""

WITHOUT_LOCK: Final = {
    "AnalysisTaskStore.lease": "tasks that nobody has leased, each under its row lock",
    "AnalysisTaskStore.extend": "the worker's own tasks, under the condition of their epochs",
    "LeaseStore.wait": "the sync's own row, under the condition of its epoch",
    "LeaseStore.pause": "the sync's own row, under the condition of its epoch",
    "LeaseStore.release": "the sync's own row, under the condition of its epoch",
    "SweepStore.finalize": "seen ids of a pass that has ended",
    "RetentionStore.purge_seen": "seen ids of a pass that nobody can resume",
}
"""Transactions that write rows of a shop without its write lock, and which rows. None writes products or items."""

ALSO_IN_QUEUE: Final = {
    "BatchStore.apply": "a batch with new images",
    "RefreshStore.write": "a refresh with new images",
    "AuditStore.settle": "a repair with new images",
    "AnalyzerStore.backfill_step": "stored images of a shop whose analyzers have changed",
    "AnalyzerStore.requeue": "images that are queued again",
    "AnalysisTaskStore.submit": "a failure that is tried again",
    "AnalysisTaskStore.mark_dead": "tasks whose last lease has expired",
}
"""Transactions that write the catalog and then record in `analysis_queue` when the shop may have tasks: for shops
with analyzers only. On Citus they commit on two nodes. The queue must not miss a committed task, and what a reader
finds between the two commits is harmless: a due shop without tasks, or tasks of a shop that is due a moment later.
"""


@pytest.fixture(scope="module")
async def recorder(postgres_url: str) -> AsyncIterator[Recorder]:
    """Yield what the scenario executed, on a database of its own."""
    name = f"citus_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name}")
    url = with_database(postgres_url, name)
    engine, owner = open_engine(service_url(url)), open_engine(url)
    outside = open_engine(url, pool_size=1)
    try:
        scenario = Scenario(engine, owner, outside)
        await scenario.run()
        yield scenario.recorder
    finally:
        for one in (engine, owner, outside):
            await one.dispose()
        await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def name_of(executed: Executed) -> str:
    """Return the name of the constant, or the beginning of the statement."""
    names = [name for name, constant in constants().items() if constant is executed.statement]
    return names[0] if names else " ".join(executed.sql.split())[:80]


def broken(recorder: Recorder) -> dict[str, set[Rule]]:
    """Return the rules that the executed statements break, by their name."""
    return {name_of(one): one.checked.rules for one in recorder.executed if one.checked.rules}


async def test_every_statement_keeps_the_rules_of_citus(recorder: Recorder) -> None:
    found = broken(recorder)
    unexpected = {name: rules for name, rules in found.items() if name not in EXEMPTIONS}
    assert unexpected == {}
    # An exemption that is not needed any more must go.
    assert found == {name: {exemption.rule} for name, exemption in EXEMPTIONS.items()}


async def test_every_statement_within_a_function_keeps_the_rules(engine: AsyncEngine) -> None:
    statements = await function_statements(engine)
    assert {name.partition("[")[0] for name in statements} | WITHOUT_STATEMENTS == set(FUNCTIONS)
    found = {name: rules for name, sql in statements.items() if (rules := check(sql).rules)}
    assert found == {name: {exemption.rule} for name, exemption in FUNCTION_EXEMPTIONS.items()}
    purges = {"purge_unpartitioned[0]", "purge_unpartitioned[1]", "purge_change_events[2]"}
    for name in FUNCTION_EXEMPTIONS.keys() - purges:
        tables = check(statements[name]).tables
        assert not tables.written | tables.locked, name


async def test_no_setting_is_set_by_a_function(engine: AsyncEngine) -> None:
    """Citus forwards SET LOCAL to its workers, and not set_config."""
    assert files_with("set_config(") == []
    statements = await function_statements(engine)
    assert [name for name, sql in statements.items() if "set_config" in sql] == []


async def test_cross_shop_statements_only_read(recorder: Recorder) -> None:
    cross_shop = [one for one in recorder.executed if Rule.NOT_BOUND in one.checked.rules]
    assert cross_shop
    for one in cross_shop:
        assert not one.checked.tables.written | one.checked.tables.locked, name_of(one)


async def test_each_transaction_that_writes_for_a_shop_touches_one_shop(recorder: Recorder) -> None:
    writing = [transaction for transaction in recorder.transactions if transaction.written]
    assert len({shop for one in writing for shop in one.shops}) > 1
    for transaction in writing:
        assert len(transaction.shops) == 1, transaction.step
        for one in transaction.executed:
            assert Rule.NOT_BOUND not in one.checked.rules, (transaction.step, name_of(one))


async def test_writers_lock_the_shop_before_they_touch_its_rows(recorder: Recorder) -> None:
    early = {
        transaction.step: sorted(rows)
        for transaction in recorder.transactions
        if (rows := transaction.touched_before_lock)
    }
    assert early.keys() == WITHOUT_LOCK.keys(), early
    assert not [step for step, tables in early.items() if LOCKED_TABLES & set(tables)]


async def test_what_writes_the_catalog_commits_on_one_node(recorder: Recorder) -> None:
    writers = [transaction for transaction in recorder.transactions if transaction.written & LOCKED_TABLES]
    assert {transaction.step for transaction in writers} == {
        "BatchStore.apply",
        "AuditStore.settle",
        "RefreshStore.write",
        "RetentionStore.purge_deleted",
        "ShopDeletionStore.purge",
        "SweepStore.step",
        "AnalysisTaskStore.mark_dead",
        "AnalysisTaskStore.submit",
        "AnalyzerStore.backfill_step",
        "AnalyzerStore.requeue",
    }
    on_two = [transaction for transaction in writers if transaction.named & DIRECTORY_TABLES]
    assert {transaction.step for transaction in on_two} == ALSO_IN_QUEUE.keys()
    for transaction in on_two:
        assert transaction.named & DIRECTORY_TABLES == {"analysis_queue"}, transaction.step
        # The row of the queue is locked for a moment only.
        in_queue = [bool(one.checked.tables.named & DIRECTORY_TABLES) for one in transaction.executed]
        assert not any(one.written for one in transaction.executed[in_queue.index(True) :]), transaction.step


async def test_everything_in_the_source_was_executed(recorder: Recorder) -> None:
    executed = {id(one.statement) for one in recorder.executed}
    missing = {name for name, constant in constants().items() if id(constant) not in executed}
    assert missing == NOT_EXECUTABLE.keys()
    texts = [one.statement.text for one in recorder.executed if one.statement is not None]
    patterns = built_in_functions()
    assert patterns
    assert [place for place, pattern in patterns.items() if not any(map(pattern.fullmatch, texts))] == []


async def test_every_method_of_every_store_was_called(recorder: Recorder) -> None:
    assert sorted(store_methods() - recorder.called) == []


def test_statements_are_made_where_the_record_looks() -> None:
    assert {file.partition("/")[0] for file in users_of_text() | users_of_core()} == {"storage"}
    assert users_of_core() == set()
    # BEGIN, SET LOCAL, COMMIT; COPY into the staging tables, which belong to no shop; the server's process id.
    users = ("database", "fence", "pooler", "products", "tenant")
    assert users_of_driver() == {f"storage/{name}.py" for name in users}


def test_each_table_is_in_one_group() -> None:
    assert set(metadata.tables) == SHOP_TABLES | DIRECTORY_TABLES
    assert not SHOP_TABLES & DIRECTORY_TABLES
    shop, directory = (tables_doc or "").split("| directory:")
    assert [name for name in SHOP_TABLES if name not in shop] == []
    assert [name for name in DIRECTORY_TABLES if name not in directory] == []
    assert [name for name in SHOP_TABLES if "shop_id" not in metadata.tables[name].primary_key.columns] == []


async def test_the_volatility_of_functions_is_that_of_postgresql(engine: AsyncEngine) -> None:
    query = text(
        "SELECT proname, max(CASE provolatile WHEN 'i' THEN 0 WHEN 's' THEN 1 ELSE 2 END) AS volatility"
        " FROM pg_proc WHERE pronamespace = CAST('pg_catalog' AS regnamespace) GROUP BY proname"
    )
    async with engine.connect() as connection:
        stored = {row.proname: row.volatility for row in await connection.execute(query)}
    known = {name: level for level, names in enumerate((IMMUTABLE, STABLE, VOLATILE)) for name in names}
    assert {name: stored[name] for name in known} == known


def store_methods() -> set[str]:
    """Return the public methods of the stores, as "Store.method"."""
    modules = {name.partition(".")[0] for name in constants()} | {"items"}
    return set(_methods(modules))


def _methods(modules: Iterable[str]) -> Iterable[str]:
    for module in modules:
        for name, store in vars(importlib.import_module(f"catalog_svc.storage.{module}")).items():
            if inspect.isclass(store) and name.endswith("Store"):
                yield from (f"{name}.{method}" for method in vars(store) if not method.startswith("_"))


def test_the_documented_statements_across_shops_are_those() -> None:
    """docs/scaling.md says what asks all shards, and how often."""
    expected: dict[str, str] = {}
    for name, exemption in (EXEMPTIONS | FUNCTION_EXEMPTIONS).items():
        if exemption.rule is Rule.NOT_BOUND:
            expected.setdefault(name.partition("[")[0], exemption.frequency)
    section = SCALING.read_text(encoding="utf-8").partition("### Statements across shops")[2].partition("###")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert {name.strip("`"): frequency for name, frequency in rows} == expected
