"""Debian's chromium, and tabs that remember what went wrong in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nothing leaves the machine
]
WIDE, PHONE = 1440, 390
HEIGHTS = {WIDE: 900, PHONE: 844}
PATIENCE = 15_000  # milliseconds until what is waited for counts as missing


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser for the block. Its loop runs in this thread until the block ends."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Tab:
    """A page in a context of its own; `troubles` says what no page of the site may do."""

    page: Page
    address: str
    troubles: list[str] = field(default_factory=list)

    def open(self, path: str = "") -> Page:
        """Go to a page of the site by its path, or by its whole address."""
        self.page.goto(self.address + path.removeprefix(self.address), wait_until="load")
        return self.page

    def watch(self) -> None:
        # Lambdas, for playwright marks what handles an event with an attribute.
        self.page.on("console", lambda message: self._on_console(message))
        self.page.on("pageerror", lambda error: self._note(f"raised {error}"))
        self.page.on("request", lambda request: self._on_request(request))
        self.page.on("requestfailed", lambda request: self._on_failure(request))
        self.page.on("response", lambda response: self._on_response(response))

    def _note(self, trouble: str) -> None:
        self.troubles.append(f"{self.page.url}: {trouble}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console {message.type} {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self._note(f"asked for {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a reader who goes on does that
            self._note(f"failed to get {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"was answered {response.status} for {response.url}")


@contextmanager
def reading(
    browser: Browser,
    address: str,
    *,
    width: int = WIDE,
    scheme: str = "light",
    javascript: bool = True,
) -> Iterator[Tab]:
    """A reader who has never been here, with a screen of that width and a preference."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHTS[width]},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=javascript,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE)
    tab = Tab(context.new_page(), address)
    tab.watch()
    try:
        yield tab
    finally:
        context.close()
