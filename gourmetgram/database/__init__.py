"""PostgreSQL: tables (checked against docker/init_sql, the source of the schema), schema revisions and connections."""
