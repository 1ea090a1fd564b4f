"""Two machines, one shared root: what is each one's own, what Coda cannot hold, what changes behind."""

import pytest
from machine import BUILD, Machine, own_copy, sample, served_by_coda

pytestmark = pytest.mark.boot

STATE = "coda.mount-root.state=/var/lib/coda/state"


def client(work, disk, append="", mac="52:54:00:00:00:01", keep=False):
    """A machine with the whole sample and a network card of its own."""
    settings = sample("systemd")
    settings["append"] += f" {append}"
    settings["extra"] = [*settings["extra"], "-netdev", "user,id=own",
                         "-device", f"virtio-net-pci,netdev=own,mac={mac}"]
    return Machine(work, disk=disk, nets=(), keep=keep, **settings)


def one(proof, key):
    value, = proof[key]
    return value


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """What desk1, with its state on its disk, and desk2, known by its card, prove side by side;
    and what desk1 proves when it is booted again."""
    work = tmp_path_factory.mktemp("clients")
    own_disk = own_copy(BUILD / "disk/disk.img", work / "disk.img")
    first = client(work / "desk1", own_disk, f"{STATE} coda.bind-client.name=desk1", keep=True)
    second = client(work / "desk2", None, mac="52:54:00:00:00:02")
    with first, second:
        first.wait(400)
        second.wait(400)
    again = client(work / "again", own_disk, f"{STATE} coda.bind-client.name=desk1", keep=True)
    with again:
        again.wait(400)
    return first.proof(), second.proof(), again.proof()


@pytest.mark.parametrize("number", [0, 1, 2], ids=["desk1", "desk2", "again"])
def test_a_whole_system_runs_although_its_files_are_in_coda(proofs, number):
    proof = proofs[number]
    print(proof)
    assert served_by_coda(proof)
    assert proof["system_state"] == ["running"] and proof["failed_units"] == [""]


def test_show(proofs):
    for proof in proofs:
        for key, values in proof.items():
            if key not in ("mountinfo", "kept"):
                print(key, values)
    assert 0
