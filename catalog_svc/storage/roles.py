"""Roles of the database: the owner of the tables, and the service role, whom row-level security binds.

| Role | Who | Rights |
|---|---|---|
| owner | `migrate`, backups | owns the tables and the functions; the policy `of_owner` lets it see all rows |
| service role | catalog_svc | reads and writes the rows of the shops that a transaction names; calls functions |

The service role must be none that could see all rows: a superuser, one with BYPASSRLS, the owner or one of its
members. An installation with a single role keeps working, without the protection.
"""

from __future__ import annotations

import logging
from typing import Final

from catalogsync_common.settings import SettingsError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_log = logging.getLogger(__name__)

TENANT_TABLES: Final = (
    *("shop", "shop_deletion", "shop_schedule", "sync_queue", "idempotency_key", "shop_state", "sync"),
    *("sync_history", "sync_issue", "sync_seen", "obsolete_pass", "product", "item"),
    *("product_refresh", "refresh_queue", "change_event", "shop_audit", "shop_webhooks"),
    *("analysis_task", "analysis_result", "analysis_queue"),
)
"""The tables with rows of shops. Only their owner may use their partitions directly."""
_SHARED_TABLES: Final = ("loop_lease", "analysis_worker")
_READ_TABLES: Final = ("schema_compatibility", "alembic_version", "page_token_key")
FUNCTIONS: Final = (
    *("find_shop_id", "find_deletion_id", "find_request", "shop_page", "same_store_shops", "sync_page"),
    *("changed_revisions", "stored_revisions", "queue_positions", "pending_syncs", "unplanned_shops", "due_shops"),
    *("active_deletions", "find_obsolete_pass", "find_shop_with_tombstones", "matching_items"),
    *("matching_products", "claim_syncs", "reset_planned_schedules", "purge_requests", "purge_deletions"),
    *("purge_unpartitioned", "create_month_partition", "drop_month_partition", "analyze_catalog"),
    *("present_incarnation", "feed_heads", "claim_refreshes", "pending_refreshes", "due_audits"),
    *("due_webhook_checks", "due_analysis_shops", "due_analyzers", "analysis_clock", "count_analysis_leases"),
    *("analysis_backfills", "active_syncs", "shop_freshness", "analysis_task_counts"),
    *("change_feed_state", "change_events", "purge_change_events"),
)
"""What the service role may do across shops, and as the owner; see the migrations 0011, 0013 to 0018 and 0021."""

_SELECT_ROLE = text("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname = :name")
_SELECT_NAMES = text("""
    SELECT quote_ident(current_schema()) AS schema, quote_ident(current_database()) AS database""")
_CAN_CREATE_TEMPORARY = text("SELECT has_database_privilege(:name, current_database(), 'TEMPORARY')")
_SELECT_OWN_RIGHTS = text("""
    SELECT current_user AS name, rolsuper, rolbypassrls,
        pg_get_userbyid(pg_class.relowner) AS owner, pg_has_role(pg_class.relowner, 'MEMBER') AS is_owner
    FROM pg_roles, pg_class
    WHERE pg_roles.rolname = current_user AND pg_class.oid = CAST('shop' AS regclass)""")

_SELECT_SCHEMA = text("""
    SELECT pg_namespace.oid, nspname AS name, has_schema_privilege(pg_namespace.oid, 'USAGE') AS usable
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = 'alembic_version' AND relkind = 'r'""")
# By oid: a name is not found by a role that may not use its schema.
_SELECT_MISSING_RIGHTS = text("""
    SELECT privilege || ' on ' || relname AS missing FROM pg_class, (
        SELECT name, privilege FROM unnest(CAST(:written AS text[])) AS name,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        UNION ALL SELECT name, 'SELECT' FROM unnest(CAST(:read AS text[])) AS name) AS needed
    WHERE relname = needed.name AND relnamespace = :schema AND relkind IN ('r', 'p')
        AND NOT has_table_privilege(pg_class.oid, privilege)
    UNION ALL
    SELECT 'EXECUTE on ' || proname FROM pg_proc
    WHERE proname = ANY(:functions) AND pronamespace = :schema AND NOT has_function_privilege(oid, 'EXECUTE')
    UNION ALL
    SELECT 'TEMPORARY on the database' WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')""")


class ServiceRoleUnusable(SettingsError):
    """The service role does not exist, or lacks what `migrate` cannot grant."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__((f"CATALOG_SERVICE_ROLE: the role {name!r} {problem}",))


class RoleNotIsolated(SettingsError):
    """The role with which the service connects could see the rows of all shops."""

    def __init__(self, problem: str) -> None:
        super().__init__((f"CATALOG_DATABASE_URL: {problem}",))


async def grant_service_role(connection: AsyncConnection, name: str) -> None:
    """Grant the service role what it needs, and nothing else; repeatable.

    Raises:
        ServiceRoleUnusable: There is no such role, or it may not create temporary tables.
    """
    role = (await connection.execute(_SELECT_ROLE, {"name": name})).scalar()
    if role is None:
        raise ServiceRoleUnusable(name, "does not exist: create it with CREATE ROLE ... LOGIN before `migrate`")
    names = (await connection.execute(_SELECT_NAMES)).one()
    for grant in (
        f"USAGE ON SCHEMA {names.schema}",
        f"SELECT, INSERT, UPDATE, DELETE ON {', '.join(TENANT_TABLES + _SHARED_TABLES)}",
        f"SELECT ON {', '.join(_READ_TABLES)}",
        f"EXECUTE ON FUNCTION {', '.join(FUNCTIONS)}",
        # Without the right to grant it, this is a warning of PostgreSQL only.
        f"TEMPORARY ON DATABASE {names.database}",
    ):
        await connection.execute(text(f"GRANT {grant} TO {role}"))
    if not (await connection.execute(_CAN_CREATE_TEMPORARY, {"name": name})).scalar_one():
        raise ServiceRoleUnusable(name, f"needs GRANT TEMPORARY ON DATABASE {names.database}, by its owner")


async def check_role(engine: AsyncEngine, *, production: bool) -> None:
    """Check at startup that row-level security binds the service.

    Args:
        engine: Connections of the service.
        production: Whether it must; if not, a role that it does not bind is a warning.

    Raises:
        RoleNotIsolated: It does not, in production.
    """
    problem = await isolation_problem(engine)
    if problem is None:
        return
    if production:
        raise RoleNotIsolated(problem)
    _log.warning(problem)


async def isolation_problem(engine: AsyncEngine) -> str | None:
    """Return why row-level security does not bind the role of the engine, and what to do; None: it does."""
    async with engine.connect() as connection:
        rights = (await connection.execute(_SELECT_OWN_RIGHTS)).one()
    if rights.rolsuper:
        reason = "is a superuser"
    elif rights.rolbypassrls:
        reason = "has BYPASSRLS"
    elif rights.is_owner:
        reason = (
            "owns the tables" if rights.owner == rights.name else f"is a member of their owner {rights.owner!r}"
        )
    else:
        return None
    return (
        f"the role {rights.name!r} {reason}, so that nothing keeps the rows of shops apart: connect with another "
        "one, and name it to `migrate` in CATALOG_SERVICE_ROLE"
    )


async def missing_rights(engine: AsyncEngine) -> tuple[str, ...]:
    """Return what the role of the engine may not do although the service must: "SELECT on item".

    Without tables in the database, nothing is missing.
    """
    async with engine.connect() as connection:
        found = (await connection.execute(_SELECT_SCHEMA)).first()
        if found is None:
            return ()
        if not found.usable:
            return (f"USAGE on schema {found.name}",)
        values = {
            "schema": found.oid,
            "written": list(TENANT_TABLES + _SHARED_TABLES),
            "read": list(_READ_TABLES),
            "functions": list(FUNCTIONS),
        }
        return tuple((await connection.execute(_SELECT_MISSING_RIGHTS, values)).scalars())
