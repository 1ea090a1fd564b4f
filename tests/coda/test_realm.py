"""The test bed itself: a root in a real Coda, and a client that boots from it."""

import pytest

pytestmark = pytest.mark.coda


def served_by_coda(proof):
    """By the mount table: busybox's stat knows no name for Coda."""
    return " - coda coda " in [line for line in proof["mountinfo"] if line.split()[4] == "/"][-1]


def test_a_cold_client_boots_and_becomes_the_root_in_coda(client):
    machine = client(proof=True)
    machine.wait()
    proof = machine.proof()
    assert served_by_coda(proof)
    assert proof["pid1"] == ["init /bin/busybox"]
