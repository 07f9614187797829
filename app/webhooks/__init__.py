"""Webhooks: telling a URL that a job has ended, signed, again until it is heard, and never into our own network."""
