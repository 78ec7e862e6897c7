"""The fault table's rows: what happens, what must come of it, and tests of other suites that prove it."""

from __future__ import annotations

from typing import Final

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One fault. `elsewhere` are tests (file::name) outside tests/faults that provoke it."""

    number: int
    fault: str
    expected: str
    elsewhere: tuple[str, ...] = ()


SQLITE: Final = "tests/engines/sqlite/test_faults.py::"
MYSQL: Final = "tests/engines/mysql/test_faults.py::"
LOCKS: Final = "tests/engines/mysql/test_locks.py::"
CRASHES: Final = "tests/engines/mysql/test_crashes.py::"
CONNECTION: Final = "tests/engines/mysql/test_connection.py::"
REPEATS: Final = "tests/engines/mysql/test_repeats.py::"
SQLITE_REPEATS: Final = "tests/engines/sqlite/test_repeats.py::"
OUTSIDE: Final = "tests/stores/test_outside.py::"
SERVER: Final = "tests/stores/test_server_faults.py::"

ROWS: Final = (
    Row(1, "killed before the intent", "converges", (f"{CRASHES}test_killed_migration_converges",)),
    Row(2, "killed between the intent and BEGIN", "converges"),
    Row(3, "killed inside the transaction", "converges", (f"{SQLITE}test_in_apply",)),
    Row(4, "killed between the tenant's COMMIT and the ledger's append", "converges"),
    Row(
        5, "killed inside a DDL statement", "converges", (f"{MYSQL}test_killed_inside_a_statement",)
    ),
    Row(6, "killed between a DDL statement and its marker", "converges"),
    Row(
        7,
        "killed during a backup",
        "temporary file removed; converges",
        (f"{SQLITE}test_in_a_backup", f"{CRASHES}test_killed_backup_leaves_no_backup"),
    ),
    Row(8, "killed during recovery itself", "converges"),
    Row(9, "power loss", "no acknowledged event lost; converges"),
    Row(
        10,
        "stopped past its lease, then let go on",
        "the zombie is refused",
        (f"{SQLITE}test_a_stopped_zombie_is_refused", f"{MYSQL}test_zombie_is_cut_off"),
    ),
    Row(11, "stopped in a statement past its lease", "the zombie is refused; one application"),
    Row(12, "clock a day ahead or behind", "no double run"),
    Row(13, "machine suspended", "no double run"),
    Row(
        14, "connection reset in a DDL statement", "settled", (f"{LOCKS}test_lost_in_a_statement",)
    ),
    Row(
        15,
        "acknowledgement of a COMMIT lost",
        "no second append",
        (f"{SERVER}test_a_lost_connection_is_settled_by_the_hash",),
    ),
    Row(16, "black hole", "deadline", (f"{SERVER}test_a_silent_server_is_given_up",)),
    Row(17, "server that never finishes its handshake", "deadline"),
    Row(
        18,
        "server restarted in an ALTER",
        "converges",
        (f"{SERVER}test_a_server_restart_is_sat_out",),
    ),
    Row(19, "server killed -9 in an ALTER", "converges"),
    Row(
        20,
        "disk full under the ledger",
        "stops before acting",
        ("tests/stores/test_sqlite_file.py::test_a_full_disk",),
    ),
    Row(21, "disk full under a tenant", "that tenant only", (f"{SQLITE}test_disk_full",)),
    Row(22, "disk full under the backups", "step not started"),
    Row(23, "read-only file", "typed error, tenant set aside", (f"{SQLITE}test_are_named",)),
    Row(24, "corrupt SQLite file", "typed error, tenant set aside", (f"{SQLITE}test_corrupt",)),
    Row(25, "truncated backup", "restore refused"),
    Row(
        26,
        "ledger row edited by hand",
        "located to the seq",
        (
            f"{OUTSIDE}test_an_edited_event_is_located",
            f"{OUTSIDE}test_a_deleted_event_is_located",
            "tests/cli/test_cli_sqlite.py::test_verify_finds_a_changed_event",
        ),
    ),
    Row(
        27,
        "migration edited after it ran",
        "error naming both hashes",
        (
            "tests/cli/test_cli_mistakes.py::test_an_edited_migration_shows_both_checksums",
            f"{MYSQL}test_edited_statement",
        ),
    ),
    Row(28, "BOM, CRLF, NUL, invalid UTF-8", "normalised, or refused with file and line"),
    Row(29, "a statement of 10 MB", "runs"),
    Row(30, "unterminated quote", "refused with file and line"),
    Row(31, "two hosts start the same run", "one executes, the other waits"),
    Row(32, "thousands of tenants down", "bounded time, all named"),
    Row(33, "a tenant vanishes", "the others go on"),
    Row(34, "a tenant is slow", "its own deadline"),
    Row(
        35,
        "metadata lock held",
        "short lock_wait_timeout, and tried again",
        (
            f"{LOCKS}test_metadata_lock_is_waited_for",
            f"{LOCKS}test_metadata_lock_that_is_kept_is_named",
        ),
    ),
    Row(
        36,
        "deadlock, 1205",
        "full rollback, and tried again",
        (f"{LOCKS}test_deadlock_is_tried_again", f"{LOCKS}test_row_lock_is_waited_for"),
    ),
    Row(37, "too many connections", "backs off"),
    Row(38, "password rotated", "secret read once more"),
    Row(39, "../../x as tenant name", "refused"),
    Row(40, "SQL in a prefix or a database name", "allow-list, then quoted"),
    Row(
        41,
        "secrets in any output",
        "canary never found",
        (
            "tests/engines/mysql/test_backups_that_fail.py::test_password_is_in_no_argument_variable_or_file",
            "tests/cli/test_cli_mistakes.py::test_passwords_are_never_shown",
        ),
    ),
    Row(
        42,
        "symlinked or world-readable backup folder",
        "refused; 0600",
        ("tests/engines/mysql/test_backups_that_fail.py::test_symlink_is_not_followed",),
    ),
    Row(43, "hostile version.json or .py", "strict decoding with sizes; .py only when enabled"),
    Row(
        44,
        "compressed bomb",
        "bounded streaming",
        ("tests/engines/mysql/test_restores_that_fail.py::test_bomb",),
    ),
    Row(
        45,
        "a newer ledger opened by an older tool",
        "read-only refusal",
        (
            f"{OUTSIDE}test_a_newer_ledger_is_read_only",
            f"{OUTSIDE}test_an_event_from_a_newer_version_is_named",
        ),
    ),
    Row(
        46,
        "ledger or tenant restored from an old backup",
        "noticed, and brought forward",
        (
            "tests/fleet/test_migrate.py::"
            "test_a_tenant_put_back_behind_our_back_is_noticed_and_brought_forward",
            "tests/fleet/test_migrate.py::test_a_ledger_put_back_behind_our_back_believes_the_tenants",
        ),
    ),
    Row(
        47,
        "a later step needs what a lost connection knew (variables, LAST_INSERT_ID, ROW_COUNT …)",
        "equal to an undisturbed run, or in doubt by name",
        (
            f"{CONNECTION}test_after_a_corrected_failure",
            f"{CONNECTION}test_after_a_kill",
            f"{CONNECTION}test_what_nobody_saw_is_in_doubt_by_name",
            f"{SQLITE_REPEATS}test_a_temporary_table_is_not_taken_for_another_one",
        ),
    ),
    Row(
        48,
        "killed behind what only looks repeatable (SELECT f(), NEXTVAL, INTO OUTFILE, VACUUM INTO)",
        "once, or in doubt by name",
        (
            f"{REPEATS}test_a_function_that_writes_is_called_once",
            f"{REPEATS}test_a_sequence_is_drawn_from_once",
            f"{REPEATS}test_a_file_is_written_once",
            f"{REPEATS}test_guards_that_do_not_make_an_alter_repeatable",
            f"{SQLITE_REPEATS}test_vacuum_into_writes_its_file_once",
        ),
    ),
    Row(
        49,
        "tables of a neighbour that no configuration names (prefixes)",
        "untouched; a destructive command refuses by table name",
        (
            "tests/cli/test_cli_prefixes.py::test_other_sites_of_the_network_stay",
            "tests/cli/test_cli_prefixes.py::test_a_site_beside_a_site",
            "tests/cli/test_cli_prefixes.py::test_what_is_unclear_is_refused_by_name",
            "tests/cli/test_cli_prefixes.py::test_what_appears_later_is_refused",
        ),
    ),
    Row(
        50,
        "another tool's down half, or a folder of the reverse direction",
        "refused before anything is touched",
    ),
    Row(51, "killed in a migration: what was measured before it", "the first measurement counts"),
    Row(
        52,
        "drift by hand before the next migration",
        "still drifted afterwards, named before acting",
        ("tests/fleet/test_reference.py::test_the_next_migration_does_not_erase_drift",),
    ),
    Row(
        53,
        "a migration's file deleted or renamed after it landed in half",
        "stays failed, undone from the kept text",
        (
            "tests/fleet/test_in_part.py::"
            "test_without_its_file_the_tenant_stays_failed_until_it_is_undone",
        ),
    ),
    Row(
        57,
        "a hot journal or a WAL to recover, met by a looking command",
        "recovered; where that cannot be written, the hint says who can",
    ),
    Row(58, "kept texts changed or deleted", "located by verify; rollback refuses"),
)
