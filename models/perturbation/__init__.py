"""Machinery of attacks: how pixels are moved and what is penalized, each used by files in models/attacks/."""
