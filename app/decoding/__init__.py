"""Decoding in processes of their own, which a file may kill without harm (docs/decisions/0014-guard.md)."""
