"""The python-backend skill as a package: its scripts as commands, its folder for agents to link."""

import sys
from pathlib import Path
from types import ModuleType

SKILL = Path(__file__).resolve().parent / ".agents" / "skills" / "python-backend"


def review() -> None:
    """Which traps of the rules are in this code?"""
    _run("review")


def probe() -> None:
    """Which failures does this application have when its requests run?"""
    _run("probe")


def explain() -> None:
    """What do these error texts mean, and what helps?"""
    _run("explain")


def versions() -> None:
    """Do the rules hold on the versions that this project locks?"""
    _run("versions")


def pool_budget() -> None:
    """How large may each pool be?"""
    _run("pool_budget")


def _run(name: str) -> None:
    """Run a script as `python3 scripts/NAME.py` does, but for the name in its `--help`."""
    path = SKILL / "scripts" / f"{name}.py"
    if not path.is_file():  # an editable install of the repository
        print(f"{path}: is missing; run scripts/{path.name} of the repository", file=sys.stderr)
        sys.exit(2)
    sys.path[0] = str(path.parent)
    # Not runpy: it puts the script's path in place of the command's name in sys.argv.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = str(path)
    exec(compile(path.read_bytes(), path, "exec"), main.__dict__)  # noqa: S102 - it is our own
