"""Programs for people: the command `gourmetgram`, the local stack, trace and audit, the doctor."""
