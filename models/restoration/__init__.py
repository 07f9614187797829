"""Restoration networks: which there are, how they are run over images of any size, and what their defenses share."""
