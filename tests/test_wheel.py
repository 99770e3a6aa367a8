"""The package python-backend-skill: the payload, five commands, and nothing else."""

import configparser
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

from rulebook.payload import payload
from tests.harness import ROOT, pair_of
from tests.harness.interpreters import uv

SKILL = "python_backend_skill/.agents/skills/python-backend"
COMMANDS = ["explain", "pool-budget", "probe", "review", "versions"]
LIBRARY_SKILLS = "library-skills==0.0.19"
README = ROOT / "src" / "python_backend_skill" / "README.md"
APP = """
import socket

from fastapi import FastAPI

app = FastAPI()


@app.get("/work")
async def work() -> None:
    socket.getaddrinfo("127.0.0.1", 80)
"""
PROJECT = """
[project]
name = "shop"
version = "0"

[dependency-groups]
dev = ["python-backend-skill"]
"""


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does: without this environment on PATH, and with no input."""
    known = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=known | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def built(root: Path, target: str, folder: Path) -> Path:
    """Build a wheel or an sdist from a source tree; return its path."""
    done = run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=root)
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    return path


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return built(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["pip", "uv"])
def environment(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The commands of an environment that holds the wheel alone, offline."""
    folder = tmp_path_factory.mktemp(request.param)
    python, install = folder / "venv/bin/python", ["install", "-q", "--no-index", wheel]
    if request.param == "uv":
        make = [uv(), "venv", "-q", "--python", sys.executable, "venv"]
        put = [uv(), "pip", *install, "--python", python]
    else:
        make, put = [sys.executable, "-m", "venv", "venv"], [python, "-m", "pip", *install]
    for command in (make, put):
        done = run(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return python.parent


def test_the_wheel_holds_the_payload_and_one_module(wheel: Path) -> None:
    """Nothing of the workshop, no test, no second copy."""
    found = {name: data for name, data in content(wheel).items() if ".dist-info/" not in name}

    module = ROOT / "src" / "python_backend_skill" / "__init__.py"
    wanted = {f"{SKILL}/{name}": data for name, data in payload(ROOT).items()}
    assert found == wanted | {"python_backend_skill/__init__.py": module.read_bytes()}


def test_the_wheel_needs_nothing(wheel: Path) -> None:
    """It can stand beside any version of any package."""
    (metadata,) = [data for name, data in content(wheel).items() if name.endswith("/METADATA")]

    assert BytesParser().parsebytes(metadata).get_all("Requires-Dist", []) == []


def test_each_script_is_a_command(wheel: Path) -> None:
    """What an agent runs by its path a person runs by its name."""
    (text,) = [data for name, data in content(wheel).items() if name.endswith("/entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(text.decode())
    scripts = [path for path in ROOT.glob("scripts/*.py") if path.read_bytes().startswith(b"#!")]

    assert dict(points["console_scripts"]) == {
        f"python-backend-{path.stem.replace('_', '-')}": f"python_backend_skill:{path.stem}"
        for path in scripts
    }


def test_the_page_on_pypi_has_no_relative_link() -> None:
    """A path leads nowhere there."""
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))

    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_page_on_pypi_names_the_commands_that_there_are() -> None:
    """All of them, and no other."""
    named = re.findall(r"python-backend-([a-z-]+)\b", README.read_text(encoding="utf-8"))

    assert set(named) - {"skill"} == set(COMMANDS)


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the source gets what we publish."""
    source = built(ROOT, "sdist", tmp_path / "sdist")
    with_tar = run("tar", "-xzf", source, cwd=tmp_path)
    assert with_tar.returncode == 0, with_tar.stderr
    tree = tmp_path / source.name.removesuffix(".tar.gz")

    assert content(built(tree, "wheel", tmp_path / "wheel")) == content(wheel)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_by_its_own_name(environment: Path, name: str) -> None:
    """Help says what to type."""
    done = run(environment / f"python-backend-{name}", "--help", cwd=environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: python-backend-{name} " in done.stdout


@pytest.mark.slow
def test_review_finds_a_trap(environment: Path, tmp_path: Path) -> None:
    """With the line, and status 1."""
    code = pair_of("asyncio/cancellation", "cleanup-that-must-finish").incorrect.block.code
    (tmp_path / "service.py").write_text(code, encoding="utf-8")
    done = run(environment / "python-backend-review", ".", cwd=tmp_path)

    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout + done.stderr
    assert done.stdout.startswith("service.py:11:")


@pytest.mark.slow
def test_review_uses_every_core(environment: Path, tmp_path: Path) -> None:
    """From 400 files on it starts processes, which have to find its modules."""
    code = pair_of("asyncio/cancellation", "cleanup-that-must-finish").incorrect.block.code
    for number in range(400):
        (tmp_path / f"service{number}.py").write_text(code, encoding="utf-8")
    done = run(environment / "python-backend-review", cwd=tmp_path)

    assert (done.returncode, done.stdout.count("\n")) == (1, 400), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("explain QueuePool limit of size 5 overflow 10 reached", 0, "pooling/"),
        ("explain a text that nobody knows", 1, ""),
        ("versions requirements.txt", 1, "fastapi"),
        ("versions no-such-file", 2, ""),
        ("pool-budget --rate=300 --hold-ms=50 --replicas=4 --max-connections=100", 0, "pool_size"),
        ("pool-budget --rate=none", 2, ""),
        ("review no-such-folder", 2, ""),
    ],
)
def test_the_other_commands_answer_as_their_scripts_do(
    environment: Path, tmp_path: Path, command: str, status: int, said: str
) -> None:
    """The same status, the same text."""
    (tmp_path / "requirements.txt").write_text("fastapi==0.60.0\n", encoding="utf-8")
    name, _, rest = command.partition(" ")
    arguments = [rest] if name == "explain" else rest.split()
    by_name = run(environment / f"python-backend-{name}", *arguments, cwd=tmp_path)
    script = ROOT / "scripts" / f"{name.replace('-', '_')}.py"
    by_path = run(sys.executable, script, *arguments, cwd=tmp_path)

    assert (by_name.returncode, by_name.stdout) == (by_path.returncode, by_path.stdout)
    assert (by_name.returncode, said in by_name.stdout) == (status, True), by_name.stderr


@pytest.mark.slow
def test_probe_watches_an_application(environment: Path, tmp_path: Path) -> None:
    """One whose packages are beside it: a call that blocks the loop, with status 1."""
    (tmp_path / "main.py").write_text(APP, encoding="utf-8")
    command = ["main:app", "--request", "GET /work", "--probe", "loop"]
    packages = sysconfig.get_path("purelib")
    done = run(environment / "python-backend-probe", *command, cwd=tmp_path, PYTHONPATH=packages)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "main.py:11 work" in done.stdout


@pytest.mark.slow
def test_uvx_runs_a_command_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Without an environment of one's own, as the page on PyPI says."""
    (tmp_path / "service.py").write_text("x = 1\n", encoding="utf-8")
    tool = [uv(), "tool", "run", "--offline", "--python", sys.executable, "--from", wheel]
    done = run(*tool, "python-backend-review", ".", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_library_skills_links_exactly_the_payload(wheel: Path, tmp_path: Path) -> None:
    """From a development dependency into both agents' folders; `--check` then has no complaint."""
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    tool = [uv(), "tool", "run", "--system-certs", "--from", LIBRARY_SKILLS, "library-skills"]
    for command in (
        [uv(), "venv", "-q", "--python", sys.executable, ".venv"],
        [uv(), "pip", "install", "-q", "--no-index", "--python", ".venv/bin/python", wheel],
        [*tool, "--skill", "python-backend", "--yes", "--claude"],
        [*tool, "--check"],
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    inside = f"{SKILL}/"
    wanted = {
        name.removeprefix(inside): data
        for name, data in content(wheel).items()
        if name.startswith(inside)
    }
    for agent in (".agents", ".claude"):
        folder = tmp_path / agent / "skills" / "python-backend"
        files = [path for path in folder.rglob("*") if path.is_file()]
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        assert (folder.is_symlink(), found == wanted) == (True, True)
