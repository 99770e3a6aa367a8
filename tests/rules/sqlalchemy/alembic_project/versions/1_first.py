"""The first revision."""

from alembic import context

revision = "1"
down_revision = None


def upgrade() -> None:
    context.config.attributes["upgrades"][revision]()


def downgrade() -> None:
    context.config.attributes["downgrades"][revision]()
