"""Machinery of no-reference metrics: networks and statistics, each used by a file in models/metrics/."""
