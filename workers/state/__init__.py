"""What the service knows, in Redis and in files: records, order of turns, promises made, and who works."""
