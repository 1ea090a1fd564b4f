"""The words of venus's tools, as captured from them."""

import pytest
from realvenus import tools

CLEAN = """
  /coda/coda.test/linuxroot:
  Status of volume 7f000001 (2130706433) named "linuxroot"
  Volume type is Replicated
  Connection State is Reachable
  Reintegration age: 0 sec, time 15.000 sec

"""
PENDING = CLEAN.rstrip("\n") + "\n  There are 2 CML entries pending for reintegration (565 bytes)\n\n"


@pytest.mark.parametrize("listed, state", [
    (CLEAN, tools.CONNECTED), (PENDING, tools.WEAK),
    (CLEAN.replace("Reachable", "Unreachable"), tools.DISCONNECTED),
    (PENDING.replace("Reachable", "Unreachable"), tools.DISCONNECTED),
    (CLEAN.replace("Reachable", "Resolving"), tools.CONNECTED),
    # Of a directory outside of Coda, and of a dead venus: exit status 0, and nothing on standard output.
    ("", None)])
def test_connection(listed, state):
    assert tools.connection(listed) == state
