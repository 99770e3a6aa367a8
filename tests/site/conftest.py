"""One build, one server, one browser for every test of the site."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.channels import programs
from tests.harness import ROOT
from tests.site.browser import chromium
from tests.site.documents import Site
from tests.site.serve import serving

AXE = "axe-core@4.14.1"
REPOSITORY = "https://code.invalid/OWNER/python-backend"


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, built for the address at which it is served."""
    folder = tmp_path_factory.mktemp("site") / "out"
    with serving(folder) as address:
        options = ["--url", address, "--repository", REPOSITORY]
        done = subprocess.run(
            [sys.executable, "src/rulebook", "site", folder, *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Site(folder, address, REPOSITORY)


@pytest.fixture(scope="package")
def axe() -> str:
    """The source of axe-core, the accessibility checker."""
    return (programs.node_modules(AXE) / "axe-core/axe.min.js").read_text(encoding="utf-8")


# Not for the session: while it lives, no other test of this process can run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, until the last test of this package."""
    with chromium() as running:
        yield running
