"""A section `-- migrate:sync`: a tenant is brought up to the desired schema that it names.

`gap.py` decides what a tenant lacks, `steps.py` makes numbered steps of it, `drift.py` says what no
addition can bring about. All of it is pure and below the engines, since they call it in the middle of a
migration: an engine's `schema/sync.py` makes the desired schema and writes the statements. What the section may
hold is in `scripts/sync_section.py`; `fleet/syncs.py` reads the tenants of a plan for it.
"""
