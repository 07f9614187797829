"""The queue, the store and the worker process. This package speaks Redis; tensors belong to models."""
