"""PostgreSQL: the tables (checked against docker/init_sql, the schema's one source), its revisions, how to connect."""
