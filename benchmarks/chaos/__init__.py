"""Kill and stop parts of a running service, and see whether it keeps its promises (docs/reliability.md).

`python -m benchmarks.chaos` runs every trial in its long form and prints what must hold beside what was measured.
"""
