"""What the stop probe cannot tell, or refuses, and what it says then."""

import socket

import pytest

from tests.observers.shipped import command, shipped
from tests.probes.stopping import BARE, said, stopped


def test_what_a_server_printed_is_shown_when_it_does_not_start(tmp_path) -> None:
    """Its last words say why; nothing else is tried."""
    verdicts = stopped(tmp_path, "raise RuntimeError('no settings')")

    assert [each.verdict for each in verdicts] == ["cannot-tell"]
    assert "no settings" in said(verdicts, "cannot-tell")


def test_a_command_that_is_no_program_is_said(tmp_path) -> None:
    """There is no traceback of ours."""
    verdicts = stopped(tmp_path, BARE, "--serve=no-such-server {port}")

    assert said(verdicts, "cannot-tell").endswith("no-such-server: No such file or directory")


@pytest.mark.parametrize("serve", ["uvicorn service:app", "uvicorn 'service:app --port {port}"])
def test_a_command_that_cannot_be_used_is_refused(serve, tmp_path) -> None:
    """It names no port, or its quotes do not close."""
    with pytest.raises(command.MisuseError, match="--serve"):
        stopped(tmp_path, BARE, f"--serve={serve}")


def test_a_remote_database_in_a_variable_is_refused(tmp_path, monkeypatch) -> None:
    """The server runs in a process of its own, where it cannot be kept from connecting."""
    monkeypatch.setenv("BROKEN_URL", "postgresql://[shop")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://shop:secret@db.example/shop")

    with pytest.raises(command.MisuseError, match=r"\$DATABASE_URL .* db\.example"):
        stopped(tmp_path, BARE)


def test_a_port_that_is_taken_is_left_to_its_owner(tmp_path, monkeypatch) -> None:
    """Another one is tried."""
    serving = shipped("core.serving")
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        ports = iter([owner.getsockname()[1], serving.free_port()])
        monkeypatch.setattr(serving, "free_port", lambda: next(ports))
        verdicts = stopped(tmp_path, BARE)

    assert verdicts[0].verdict == "ok"
    assert not list(ports)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ('--request=POST /private {"a": 1}', "before SIGTERM it is answered 401: token, please"),
        ("--request=POST /orders {{token}}x", "nothing gives a value for {{token}}"),
        ("--stream=/orders", "it is no stream: it is answered 200"),
        ("--stream=/private", "it is no stream: it is answered 401"),
        ("--socket=/orders", "the WebSocket does not open: it is answered 403"),
        ("--ready=/private", "readiness says 401 before SIGTERM too"),
    ],
)
def test_a_state_that_cannot_be_made_is_no_ok(argument, reason, tmp_path) -> None:
    """What is missing is said."""
    closes = 'async def socket(receive, send): await send({"type": "websocket.close"})'

    verdicts = stopped(tmp_path, BARE + closes, argument)

    assert reason in said(verdicts, "cannot-tell")
    assert said(verdicts, "ok").count("\n") == 0
