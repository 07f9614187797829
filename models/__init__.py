"""Neural and signal-processing models: defenses and metrics on tensors. This service has no database tables."""
