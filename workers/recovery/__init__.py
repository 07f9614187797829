"""What was lost and what becomes of it: jobs of workers that died, of a Redis that forgot, and what nobody needs."""
