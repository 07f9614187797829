"""The study of a paper as one command: attacks against metrics, defenses against attacks, measured and reported.

`parameters` says what to do, `units` which pieces that is, `perform` does a piece, `pool` does them all in processes,
`folder` keeps what is done, `cells` reads it back as measures, and `report` writes it up.
"""
