"""Starting a command is cheap: boots run seven of them on slow machines."""

import os
import subprocess
import sys

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
    """Of the processor's time, so that a busy machine is no matter; the median of five, once three agree.

    One of them must be so by the clock, too: a start that waits for something never is.
    """
    waited = []

    def seconds():
        began = os.times()
        python(TOP / "bin" / name, "--help")
        ended = os.times()
        waited.append(ended.elapsed - began.elapsed)
        return sum(ended[2:4]) - sum(began[2:4])

    quick = slow = 0
    while max(quick, slow) < 3:
        quick, slow = (quick + 1, slow) if seconds() < 0.3 else (quick, slow + 1)
    assert quick == 3 and min(waited) < 0.3
