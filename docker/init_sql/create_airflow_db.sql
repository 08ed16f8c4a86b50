-- CREATE DATABASE has no IF NOT EXISTS: psql runs the statement that this query returns, if any.
SELECT 'CREATE DATABASE airflow'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'airflow')\gexec
