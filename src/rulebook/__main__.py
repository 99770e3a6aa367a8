"""Run from a clone without installing anything: `python3 src/rulebook install PROJECT`."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - so this file has to be readable for Python 3.8
    version = ".".join(map(str, sys.version_info[:2]))
    needed = "rulebook: this is Python %s; run it with Python 3.11 or newer\n"
    sys.stderr.write(needed % version)
    sys.exit(2)

from pathlib import Path

if not __package__:  # the folder was run, not the module: let `rulebook` be found
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rulebook.cli import main

sys.exit(main())
