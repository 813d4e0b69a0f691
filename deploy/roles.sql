-- Creates the roles and the database of catalog_svc in a new PostgreSQL; see "The database roles" in docs/operations/database.md.
-- The official image runs it with psql at its first start, from /docker-entrypoint-initdb.d.
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/postgres_owner_password`
\set service_password `cat /run/secrets/postgres_service_password`
CREATE ROLE catalog_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE catalog LOGIN PASSWORD :'service_password';
CREATE DATABASE catalog OWNER catalog_owner;
