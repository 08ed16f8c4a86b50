#!/bin/bash
# Nimtable's database and its own login; the password comes from the environment (NIMTABLE_DB_PASSWORD).
set -euo pipefail

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet \
    --username "${POSTGRES_USER:?}" --dbname "${POSTGRES_DB:?}" \
    -v password="${NIMTABLE_DB_PASSWORD:-gourmetgram_nimtable}" <<'SQL'
SELECT 'CREATE ROLE nimtable_user'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'nimtable_user')\gexec
ALTER ROLE nimtable_user WITH LOGIN CREATEDB PASSWORD :'password';
SELECT 'CREATE DATABASE nimtable OWNER nimtable_user'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'nimtable')\gexec
\connect nimtable
ALTER SCHEMA public OWNER TO nimtable_user;
SQL
