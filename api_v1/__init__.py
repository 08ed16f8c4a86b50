"""Version 1 of the API: images, views, comments and flags, stored in PostgreSQL and the object store."""
