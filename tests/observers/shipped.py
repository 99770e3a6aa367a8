"""The modules of scripts/probes, as probe.py loads them: what users run is what proofs see by."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "probe.py"


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("probe", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    writes = sys.dont_write_bytecode
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = writes  # which the script turns off for the process it runs in
    return module


script = _load_script()
command = script._package()


def shipped(name: str) -> ModuleType:
    """A module below scripts/probes, by its dotted name."""
    return importlib.import_module(f"{command.__name__.partition('.')[0]}.{name}")
