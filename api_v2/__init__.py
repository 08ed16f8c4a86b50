"""Version 2 of the API: version 1, and an event for each upload, view, comment and flag."""
