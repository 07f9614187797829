"""The machinery of learned no-reference metrics: networks, preprocessing, and weights that a user brings."""
