"""The test bed itself: a root in a real Coda, and clients that boot from it and are turned off."""

import pytest
from boot.conftest import is_clean

pytestmark = pytest.mark.coda


@pytest.mark.parametrize("overlay, layers", [("off", " - coda coda "), ("auto", "lowerdir=/coda/")])
def test_a_cold_client_becomes_the_root_in_coda_and_leaves_its_disk_clean(client, overlay, layers):
    machine = client(append=f"coda.overlay={overlay}", proof=True)
    machine.wait()
    proof = machine.proof()
    # By the mount table: busybox's stat knows no name for Coda.
    assert layers in [line for line in proof["mountinfo"] if line.split()[4] == "/"][-1]
    assert proof["pid1"] == ["init /bin/busybox"]
    assert is_clean(machine.disk)
