"""Parts of the site that no file of the repository holds as they are shown."""
