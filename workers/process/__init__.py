"""How a worker process takes jobs and holds them: from RQ, under a lease, several at once, until it is stopped."""
