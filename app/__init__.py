"""The HTTP service and the command `purifiqa`. It speaks HTTP; tensors belong to models, Redis to workers."""
