"""Debian with systemd from a real server: a new machine, and the same with the server gone."""

import time

import pytest
from boot.conftest import is_clean
from client import Client
from machine import served_by_coda

pytestmark = [pytest.mark.coda, pytest.mark.long, pytest.mark.timeout(5400)]

SECRETS = "coda.mount-root.secrets=/var/lib/coda/secrets"


def run(work, debian, disk=None):
    """Boot to the proof and its poweroff; (machine, what it proved)."""
    realm, boot = debian
    with Client(work, realm, boot, disk=disk, append=SECRETS).start(proof=True) as machine:
        machine.wait(600)
    return machine, machine.proof()


def whole(proof):
    assert served_by_coda(proof)
    assert proof["system_state"] == ["running"] and proof["failed_units"] == [""]
    assert {key: proof[key] for key in ("sudo", "su", "ping", "bwrap", "messenger")} == {
        "sudo": ["0"], "su": ["0"], "ping": ["1"], "bwrap": ["1000"], "messenger": ["through the pipe"]}


def test_a_new_machine_runs_and_runs_again_with_the_server_gone(debian, tmp_path):
    machine, proof = run(tmp_path / "new", debian)
    whole(proof)
    assert is_clean(machine.disk)
    debian[0].hold()
    began = time.monotonic()
    machine, proof = run(tmp_path / "gone", debian, machine.disk)
    whole(proof)
    assert is_clean(machine.disk)
    print(f"without a server, to the end: {time.monotonic() - began:.0f} s")
