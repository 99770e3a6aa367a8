"""Make COMMIT fail for real on PostgreSQL: every statement before it succeeds.

Both functions return SQL to run once against the database, by whatever driver is at hand. A
constraint trigger, deferred to the end of the transaction, does the rest on the server.
"""

from string import Template

TRIGGER = Template("""
CREATE OR REPLACE FUNCTION $name() RETURNS trigger LANGUAGE plpgsql AS $$body$$
BEGIN
    $action;
    RETURN NULL;
END $$body$$;
DROP TRIGGER IF EXISTS $name ON $table;
CREATE CONSTRAINT TRIGGER $name AFTER INSERT OR UPDATE ON $table
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ($when) EXECUTE FUNCTION $name();
""")


def refuse_commit(table: str, when: str = "true", sqlstate: str = "23514") -> str:
    """SQL that makes the server refuse the COMMIT of a transaction that wrote to `table`.

    `when` is a condition on the row, such as `NEW.sku = 'refused'`. `sqlstate` decides what drivers
    raise: 23514 is a broken check, 40001 a serialization failure that is worth a retry.
    """
    action = f"RAISE EXCEPTION 'refused at commit' USING ERRCODE = '{sqlstate}'"
    return TRIGGER.substitute(name="refuse_commit", table=table, when=when, action=action)


def kill_commit(table: str, when: str = "true") -> str:
    """SQL that makes the server drop the connection at COMMIT, if `table` was written to."""
    action = "PERFORM pg_terminate_backend(pg_backend_pid())"
    return TRIGGER.substitute(name="kill_commit", table=table, when=when, action=action)
