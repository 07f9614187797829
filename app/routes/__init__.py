"""One file per noun. Each endpoint is a few lines: check, ask the queue, answer."""
