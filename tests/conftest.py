"""Fixtures for all tests: a command as a module, a command as a process, what a machine has."""

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

TOP = Path(__file__).resolve().parent.parent
COMMANDS = sorted(path.name for path in (TOP / "bin").glob("coda-*"))
STRICT = os.environ.get("CODA_TEST_STRICT") == "1"

sys.path.insert(0, str(TOP / "lib"))
# A command has no suffix, so its bytecode would be written beside it, into bin/.
sys.dont_write_bytecode = True
# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None,
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")


def load(name):
    """The module in bin/`name`, fresh."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOP / "bin" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def environment(**more):
    """The environment `make shell` gives, for commands run as processes."""
    path = [str(TOP / "lib"), *(p for p in sys.path if p.endswith("site-packages"))]
    return {"PATH": f"{TOP / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": ":".join(path), "PYTHONDONTWRITEBYTECODE": "1", **more}


def command(name, *args, timeout=60, **settings):
    """Run bin/`name` to its end with a closed-over, plain environment."""
    settings.setdefault("env", environment(**{
        key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}))
    settings.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([sys.executable, str(TOP / "bin" / name), *map(str, args)],
                          capture_output=True, text=True, timeout=timeout, **settings)


def need(condition, what):
    """Skip for want of `what`; fail where the Makefile says it must be there."""
    if not condition:
        (pytest.fail if STRICT else pytest.skip)(f"needs {what}")


def need_root():
    need(os.geteuid() == 0, "root")


def need_programs(*programs):
    path = "/usr/sbin:/sbin:" + os.environ.get("PATH", "")
    for program in programs:
        need(shutil.which(program, path=path), f"the program '{program}'")


def unshare(*namespaces):
    """The words that run a command in `namespaces`: as root plainly, else in a user namespace.

    Fails or skips where that is forbidden, as user namespaces are in a chroot.
    """
    words = ["unshare", *namespaces, *(["-r"] if os.geteuid() else [])]
    need(subprocess.run([*words, "true"], capture_output=True).returncode == 0,
         "namespaces; a chroot must be a mount point for them ('mount --bind DIR DIR')")
    return words


@pytest.fixture
def run_command():
    return command


@pytest.fixture
def module(request):
    """The command that tests/unit/test_coda_x.py is about."""
    return load(request.path.stem.removeprefix("test_").replace("_", "-"))
