"""Run from a clone without installing anything: `python3 src/rulebook install PROJECT`."""

import sys
from pathlib import Path

if not __package__:  # the folder was run, not the module: let `rulebook` be found
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rulebook.cli import main

sys.exit(main())
