"""Put the payload into the wheel python-backend-skill; hatchling runs this when it builds one."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "python_backend_skill/.agents/skills"  # where library-skills looks


class PayloadHook(BuildHookInterface[BuilderConfig]):
    """Adds what `rulebook.payload` gives, and nothing else; an editable install goes without."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the payload to a folder of its own and name each file of it to hatchling."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root, "src")))
        from rulebook.payload import NAME, payload, write

        files = payload(Path(self.root))
        self.stage = tempfile.TemporaryDirectory(prefix=f"{NAME}-")
        folder = Path(self.stage.name, NAME)
        write(files, folder)
        for name in files:
            build_data["force_include"][str(folder / name)] = f"{FOLDER}/{NAME}/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove that folder once the wheel is written."""
        if version != "editable":
            self.stage.cleanup()
