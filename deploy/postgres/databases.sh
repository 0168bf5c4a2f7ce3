#!/bin/sh
# The first start of an empty Postgres: broker and executor each get a database that the other cannot open.
set -eu

for name in broker executor; do
  file=/run/galaksio/$(echo "$name" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set name="$name" --set password="$(cat "$file")" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
