"""Measurements: ours beside the raw driver and beside the peers, in one run, in alternation.

`python -m bench --list` names the scripts. This package file and `workloads`,
`child` and `peers/` use the standard library alone, since the peers' own
environment imports them.
"""
