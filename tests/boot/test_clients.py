"""Two machines, one shared root: what is each one's own, what Coda cannot hold, what changes behind."""

import subprocess

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


EACH = pytest.mark.parametrize("number", [0, 1, 2], ids=["desk1", "desk2", "again"])


@EACH
def test_a_whole_system_runs_although_its_files_are_in_coda(proofs, number):
    proof = proofs[number]
    assert served_by_coda(proof)
    assert proof["system_state"] == ["running"] and proof["failed_units"] == [""]
    assert {key: one(proof, key) for key in ("sudo", "su", "ping", "bwrap", "messenger")} == {
        "sudo": "0", "su": "0", "ping": "1", "bwrap": "1000", "messenger": "through the pipe"}
    assert proof["stat"] == [
        "/ drwxr-xr-x root:root", "/tmp drwxrwxrwt root:root", "/etc drwxr-xr-x root:root",
        "/etc/shadow -rw-r----- root:shadow", "/usr/bin/sudo -rwsr-xr-x root:root",
        "/usr/bin/chage -rwxr-sr-x root:shadow", "/var/mail drwxrwsr-x root:mail",
        "/srv/messenger/pipe prw--w---- messenger:messenger", "/home/user drwxr-xr-x user:user"]
    assert one(proof, "acl").startswith("0200000001000700")  # version 2, the owner's entry first


def test_each_client_has_what_is_its_own_and_with_state_keeps_it(proofs):
    desk1, desk2, again = proofs
    for key in ("hostname", "client"):
        assert [one(proof, key) for proof in proofs] == ["desk1", "desk2", "desk1"]
    for key, size in (("machine_id", 32), ("host_key", 68)):
        assert len(one(desk1, key)) == size
        assert one(desk1, key) != one(desk2, key) and one(desk1, key) == one(again, key)
    assert [one(proof, "survived") for proof in proofs] == ["", "", "written on desk1"]


@EACH
def test_the_shared_root_changes_behind_a_client(proofs, number):
    """What coda-mount-root(8) promises, with Coda below."""
    shown = {}
    for when in ("behind", "forgotten", "closed"):
        shown[when] = dict(line.split(" ", 1) for line in proofs[number][when][when == "behind":])
    assert proofs[number]["behind"][0].split() == [
        "added", "changed", "copied", "directory", "later", "renamed"]
    for when in shown.values():
        assert {name: when[name] for name in ("added", "changed", "directory/file", "copied")} == {
            "added": "new", "changed": "new", "directory/file": "new", "copied": "mine"}
    for when in ("forgotten", "closed"):
        assert (shown[when]["later"], shown[when]["removed"]) == (
            "new", "cat: removed: No such file or directory")
    assert shown["forgotten"]["renamed"] == "old"  # a program had it open
    assert shown["closed"]["renamed"] == "new"


def test_no_secret_is_in_the_shared_tree():
    home = BUILD / "sample-systemd"
    shadow = (home / "secrets/tree/etc/shadow").read_text()
    hashed = next(line.split(":")[1] for line in shadow.splitlines() if line.startswith("user:"))
    assert len(hashed) > 50
    assert not (home / "tree/linuxroot/etc/shadow").exists()
    found = subprocess.run(["grep", "-rlF", "-e", hashed, "-e", "correct-horse-7Qx", "-e", "NOPASSWD: ALL",
                            home / "tree"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
