"""A ready test: every migration up, down and up again."""

from __future__ import annotations

from ledger.testing.tenant import Tenant


class MigrationTests:
    """Inherit from it in a test module, and pytest walks the project's migrations on each engine.

    `require_down`: a migration without a down section fails.
    """

    require_down = False

    def test_every_migration_goes_up_down_and_up_again(self, ledger_tenant: Tenant) -> None:
        """Down leaves the schema as it was before, and up again as it was after."""
        ledger_tenant.walk(require_down=self.require_down)
