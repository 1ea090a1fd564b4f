"""Starting a command is cheap: boots run seven of them on slow machines."""

import subprocess
import sys
import time

import pytest
from conftest import COMMANDS, TOP, environment

HEAVY = ("sh", "pyroute2", "asyncio", "subprocess", "hypothesis", "elftools")


def python(*argv):
    return subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True,
                          env=environment(), check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    err = python("-X", "importtime", TOP / "bin" / name, "--help").stderr
    modules = {line.rsplit("|", 1)[1].strip() for line in err.splitlines() if "|" in line}
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_there_at_once(name):
    """The median of five starts: it is known after three that agree."""
    def seconds():
        began = time.perf_counter()
        python(TOP / "bin" / name, "--help")
        return time.perf_counter() - began

    quick = slow = 0
    while max(quick, slow) < 3:
        quick, slow = (quick + 1, slow) if seconds() < 0.3 else (quick, slow + 1)
    assert quick == 3
