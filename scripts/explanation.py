"""What the rules say of a trap or pair, by its name."""

import re
from difflib import get_close_matches
from pathlib import Path

RULES = Path(__file__).resolve().parent.parent / "rules"
MARKS = re.compile("[\u2020\u2021]+")  # on what review.py and probe.py find
BULLET = re.compile(r"^- \*\*(.+?)\*\*")


class TrapError(Exception):
    """No trap or pair has this name; the message says which ones are near."""


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def traps(folder: Path = RULES) -> dict[str, str]:
    """The text of each trap and pair of the rules, by `category/rule#slug`."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*/*.md")):
        page = f"{path.parent.name}/{path.stem}"
        sections = re.split(r"(?m)^## ", path.read_text(encoding="utf-8"))
        for section in sections[1:]:
            heading = section.partition("\n")[0]
            if "**Incorrect**" in section:
                found[f"{page}#{_slug(heading)}"] = f"## {section.strip()}"
            for line in section.split("\n") if heading in ("Traps", "Versions") else ():
                if match := BULLET.match(line):
                    text = MARKS.sub("", line.removeprefix("- "), 1)
                    found[f"{page}#{_slug(match[1])}"] = text
    return found


def explanation(name: str) -> str:
    """The trap's text and the page it stands on. `name` may leave out the page.

    Raises TrapError for a name that none or several have.
    """
    known = traps()
    named = [each for each in known if name in (each, each.partition("#")[2])]
    if len(named) > 1:
        raise TrapError(f"{name!r} is the name of several: {', '.join(named)}")
    if not named:
        slugs = {each.partition("#")[2]: each for each in known} | {each: each for each in known}
        near = get_close_matches(name, slugs, 1, 0.0)
        hint = f"; the nearest is {slugs[near[0]]}" if near else "; install the whole skill"
        raise TrapError(f"no trap is called {name!r}{hint}")
    page = named[0].partition("#")[0]
    return f"{known[named[0]]}\n\n{named[0]}, rules/{page}.md"
