"""Start a rule: its page and its test, both red until they are written."""

import re
from pathlib import Path

PAGE = """\
---
title: Say what to do
impact: MEDIUM
impactDescription: one clause that an operator would recognise
when: code does what this rule is about
requires: {{python: ">=3.11"}}
---

# Say what to do

What happens without it, and why: two to four sentences.

## First pair

**Incorrect** - what is seen to happen:

```python
async def handle() -> str:
    return "the same program"
```

**Correct** - what holds instead:

```python
async def handle() -> str:
    return "the same program"
```

## Traps

- **A trap by a few words.** What happens, how to see it in code, what to do.

## When not to

Say when the opposite is right.

## Sources

- [Where this is documented](https://docs.python.org/3/)
"""

TEST = '''\
"""What {rule} claims, seen to happen."""

from tests.harness import proves


@proves("{rule}", "first-pair")
async def the_symptom_shows(half):
    """One sentence: what is seen when the symptom shows."""
    await half.handle()

    return False
'''


class ScaffoldError(Exception):
    """A file that would be written is there already."""


def new_rule(root: Path, rule: str) -> list[Path]:
    """Write the page and the test of `category/name`; return their paths.

    Raises ValueError for a name that is not two lower-case words with hyphens joined by a slash,
    ScaffoldError when a file is there already. Nothing is written then.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*/[a-z][a-z0-9]*(-[a-z0-9]+)*", rule):
        raise ValueError(f"{rule!r} is not category/name, in lower case with hyphens in the name")
    category, name = rule.split("/")
    page = root / "rules" / category / f"{name}.md"
    test = root / "tests" / "rules" / category / f"test_{name.replace('-', '_')}.py"
    for path in (page, test):
        if path.exists():
            raise ScaffoldError(f"{path}: is there already; choose another name")
    for path, template in ((page, PAGE), (test, TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.format(rule=rule, category=category), encoding="utf-8")
    package = test.parent / "__init__.py"
    package.touch()
    return [page, test]
