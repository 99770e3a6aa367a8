"""The second revision."""

from alembic import context

revision = "2"
down_revision = "1"


def upgrade() -> None:
    context.config.attributes["upgrades"][revision]()


def downgrade() -> None:
    context.config.attributes["downgrades"][revision]()
