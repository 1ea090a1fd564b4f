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
    assert served_by_coda(proof)
    assert proof["system_state"] == ["running"] and proof["failed_units"] == [""]
    assert {key: one(proof, key) for key in ("sudo", "su", "ping", "bwrap", "messenger", "userns")} == {
        "sudo": "0", "su": "0", "ping": "1", "bwrap": "1000", "userns": "yes",
        "messenger": "through the pipe"}
    assert {"/etc/shadow -rw-r----- root:shadow", "/usr/bin/sudo -rwsr-xr-x root:root",
            "/usr/bin/chage -rwxr-sr-x root:shadow", "/var/mail drwxrwsr-x root:mail"} <= set(proof["stat"])


def test_each_client_is_one_of_its_own(proofs):
    first, second, _ = proofs
    assert (one(first, "hostname"), one(first, "client")) == ("desk1", "desk1")
    assert (one(second, "hostname"), one(second, "client")) == ("desk2", "desk2")
    for key in ("machine_id", "host_key"):
        assert one(first, key) and one(second, key) and one(first, key) != one(second, key)


def test_state_on_the_disk_survives(proofs):
    first, _, again = proofs
    assert one(first, "kept") == "" and one(again, "kept") == "written on desk1"
    for key in ("machine_id", "host_key"):
        assert one(first, key) == one(again, key)


def test_no_secret_is_in_the_shared_tree():
    shared = BUILD / "sample-systemd/tree/linuxroot"
    assert (shared / "etc/passwd").exists() and not (shared / "etc/shadow").exists()
    assert "./etc/shadow" not in (BUILD / "sample-systemd/tree/linuxroot.mtree").read_text()
