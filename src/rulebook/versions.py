"""The versions the examples are proven on: the pins the tests install."""

import re
import tomllib
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", re.M)


def project_version(root: Path) -> str:
    """The skill's version, from pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    version: str = tomllib.loads(text)["project"]["version"]
    return version


def pins(root: Path) -> dict[str, str]:
    """Package name to version, from requirements-test.txt."""
    text = (root / "requirements-test.txt").read_text(encoding="utf-8")
    return dict(PIN.findall(text))
