"""Stands in for the functions of Citus that deploy/citus/distribute.sql and `make test-citus` call.

No Citus is in a package registry. These functions distribute nothing. They check what the documentation of
`create_distributed_table` demands, on the real schema: no trigger and no foreign key, the distribution column in
every unique index, tables to co-locate with that are distributed already. As an extension they show that the tests
create, migrate, distribute and drop databases on all nodes of a cluster; not that a statement works on Citus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

STAND_IN: Final = """
    SET LOCAL allow_system_table_mods = on;
    CREATE TABLE pg_catalog.pg_dist_partition (
        logicalrelid regclass PRIMARY KEY, colocated_with text, column_type regtype);
    CREATE TABLE pg_catalog.distributed_function (signature regprocedure PRIMARY KEY);
    CREATE FUNCTION pg_catalog.create_distributed_table(
        relation regclass, key text, colocate_with text DEFAULT 'default') RETURNS void LANGUAGE plpgsql AS $$
    DECLARE key_number smallint := (
        SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = key AND attnotnull);
    BEGIN
        ASSERT key_number IS NOT NULL, format('%s has no column %s that is NOT NULL', relation, key);
        ASSERT NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation), format('%s has a trigger', relation);
        ASSERT NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND relation IN (conrelid, confrelid)),
            format('%s has a foreign key', relation);
        ASSERT NOT EXISTS (SELECT FROM pg_index
                WHERE indrelid = relation AND indisunique AND key_number <> ALL (indkey)),
            format('a unique index of %s does not contain %s', relation, key);
        ASSERT colocate_with = 'default' OR EXISTS (SELECT FROM pg_catalog.pg_dist_partition
                WHERE logicalrelid = CAST(colocate_with AS regclass)),
            format('%s is not distributed yet', colocate_with);
        INSERT INTO pg_catalog.pg_dist_partition
        SELECT relation, colocate_with, atttypid FROM pg_attribute
        WHERE attrelid = relation AND attnum = key_number;
    END $$;
    CREATE FUNCTION pg_catalog.create_distributed_function(signature regprocedure) RETURNS void LANGUAGE sql AS $$
        INSERT INTO pg_catalog.distributed_function VALUES (signature) ON CONFLICT DO NOTHING $$;
"""
"""Functions of Citus, with its checks."""

_NODES: Final = """
    CREATE TABLE pg_catalog.pg_dist_node (
        nodeid serial, groupid integer, nodename text, nodeport integer, noderole text DEFAULT 'primary',
        isactive boolean DEFAULT true);
    CREATE FUNCTION pg_catalog.citus_set_coordinator_host(host text, port integer) RETURNS void LANGUAGE sql AS $$
        INSERT INTO pg_catalog.pg_dist_node (groupid, nodename, nodeport) VALUES (0, host, port) $$;
    CREATE FUNCTION pg_catalog.citus_add_node(nodename text, nodeport integer) RETURNS void LANGUAGE sql AS $$
        INSERT INTO pg_catalog.pg_dist_node (groupid, nodename, nodeport)
        SELECT 1 + max(groupid), citus_add_node.nodename, citus_add_node.nodeport FROM pg_catalog.pg_dist_node $$;
"""


def write_extension(directory: Path) -> None:
    """Write the extension, for the setting `extension_control_path` of PostgreSQL 18."""
    extension = directory / "extension"
    extension.mkdir(parents=True)
    (extension / "citus.control").write_text("default_version = '1'\nschema = pg_catalog\nrelocatable = false\n")
    (extension / "citus--1.sql").write_text(STAND_IN + _NODES)
    for path in (directory, extension, *extension.iterdir()):
        path.chmod(0o755)
