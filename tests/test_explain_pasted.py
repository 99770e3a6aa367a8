"""scripts/explain.py: a text is read in whatever form it was pasted or logged."""

import html
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_explain import CANCELLED, SCOPE, SCRIPT, TRACEBACK, ordered


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"level": "error", "exc_info": TRACEBACK, "n": [{"x": 1}]}) + "\n",
        f"\x1b[31mRuntimeError\x1b[0m: \x1b[1;35m{CANCELLED}\x1b[0m\n",
        "RuntimeError: async generator\n   ignored GeneratorExit",
        f"RuntimeError: {CANCELLED}".encode() + b" \xff\xfe\x00",
        f"x\r\nRuntimeError: {CANCELLED}\r\n",
        "".join(json.dumps({"log": f"{line}\n"}) + "\n" for line in TRACEBACK.splitlines()),
        f'2026-11-27 ERROR {{"exc": {json.dumps(TRACEBACK)}}}\n',
        f"RuntimeError: {CANCELLED[:24]}\n{CANCELLED[24:]}",
        f"05:31:24 [app]     RuntimeError: async generator\n05:31:25 [app]     {CANCELLED[16:]}",
        f"\u2502 RuntimeError: async generator \u2502\n\u2502 {CANCELLED[16:]} \u2502",
        TRACEBACK.encode("utf-16"),
        TRACEBACK.encode("utf-8-sig"),
        f"RuntimeError: {CANCELLED[:-6]}...",
    ],
    ids=[
        *("JSON", "colours", "by hand", "bytes", "CRLF", "container", "inside"),
        *("cut", "collector", "box", "UTF-16", "mark", "end"),
    ],
)
def test_any_form_of_a_log_is_read(text: str | bytes) -> None:
    """Structured, coloured, broken over lines, half binary, of Windows, cut off."""
    assert ordered(text, CANCELLED, SCOPE) == [CANCELLED]


@pytest.mark.parametrize("mark", ["&#39;", "&#x27;", "&lt;&quot;&gt;"])
def test_what_a_web_page_escaped_is_read(mark: str) -> None:
    """Copied from the source of a page, or from a tracker that escapes twice."""
    assert ordered(f"can{mark}t do that", f"can{html.unescape(mark)}t do that") != []


def test_a_typeset_quote_is_a_quote() -> None:
    """What a web page made of an apostrophe is found all the same."""
    assert ordered("can\u2019t do that", "can't do that") == ["can't do that"]


def test_a_long_log_is_read_as_a_stream(tmp_path: Path) -> None:
    """Forty times the size of what is read at once: memory stays that of one part."""
    path = tmp_path / "log"
    with path.open("w") as log:
        for number in range(150_000):
            log.write(f"2026-11-27 05:31:24 INFO request {number} took 12 ms, 200, GET /orders\n")
        log.write(TRACEBACK)
    source = (
        "import sys; sys.argv = ['explain.py', '--json', sys.argv[1]];"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r}); import explain; explain.main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, path], capture_output=True, text=True, check=True
    )
    answer, kilobytes = done.stdout.splitlines()

    assert json.loads(answer)["matches"][0]["lines"] == [150_006]
    assert int(kilobytes) < 60_000
