"""Environment that Alembic runs for each command; `migrate` passes the connection with its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
