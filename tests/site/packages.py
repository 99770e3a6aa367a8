"""axe-core, the accessibility checker, from npm at one exact version."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import ROOT

AXE = "axe-core@4.14.1"


def axe_source(folder: Path) -> str:
    """The script that checks a page, installed below `folder`; npm keeps its downloads."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm to fetch axe-core")
    cache = {"HOME": str(folder), "npm_config_cache": str(ROOT / ".cache" / "npm")}
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run(
        ["npm", "install", *options, AXE],
        cwd=folder,
        env=os.environ | cache,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
