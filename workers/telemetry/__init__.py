"""What a process tells of itself: logs, traces, and what it is doing."""
