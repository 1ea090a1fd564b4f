"""Boots with the server gone: from a warm cache they go on, from a cold one they say why not."""

import re
import subprocess
import time

import pytest
from boot.conftest import is_clean
from client import warm_disk
from machine import PROMPT, own_copy

pytestmark = pytest.mark.coda


def seconds(machine, step):
    """How long init says the last run of `step` took."""
    times = re.findall(rf"^\[ *([0-9.]+)\] coda-{step}(?: \.\.\.|: )", machine.text, re.M)
    return float(times[-1]) - float(times[-2])


@pytest.fixture(scope="module")
def warmed(realm, coda_disk, tmp_path_factory):
    return warm_disk(realm, coda_disk, tmp_path_factory.mktemp("warm"))


@pytest.fixture
def warm(warmed, tmp_path):
    return own_copy(warmed, tmp_path / "warm.img")


def test_a_warm_cache_boots_and_the_server_is_noticed_when_it_is_back(client, realm, warm):
    realm.hold()
    machine = client("coda.break=mount-dev coda.wait-mount.require=connected coda.wait-mount.timeout=15",
                     disk=warm)
    # Required is more than there is: a reason of its own, and a shell.
    machine.expect("the boot stopped at 'coda-wait-mount', exit status 5$", 180)
    shell = machine.shell()
    began = time.monotonic()
    assert shell(f"coda-wait-mount --cfs=cfs {realm.root} 2>&-") == (0, "disconnected")
    print(f"a look at the cache alone: {time.monotonic() - began:.1f} s")
    # Cached, it can be run; an object that was never read cannot.
    assert shell(f"cat {realm.root}/etc/motd") == (0, "a root in Coda")

    realm.release()
    began = time.monotonic()
    while "Reachable" not in shell(f"cfs lv -local {realm.root}")[1]:
        assert time.monotonic() - began < 40
    print(f"noticed {time.monotonic() - began:.1f} s after codasrv served again")
    machine.send("exit")
    machine.expect("^\\[.*connected$", 60)
    machine.expect("stopped before 'coda-mount-dev'", 60)
    machine.expect(PROMPT)
    machine.send("exit")
    shell = machine.shell()
    assert shell("cat /etc/motd; cat /proc/1/comm")[1].split("\n")[-1] == "init"


def test_without_a_server_a_warm_cache_is_enough(client, realm, warm):
    realm.hold()
    machine = client(disk=warm)
    machine.expect("^\\[.*disconnected$", 180)
    shell = machine.shell()
    assert shell("cat /etc/motd") == (0, "a root in Coda")
    print(f"coda-wait-mount took {seconds(machine, 'wait-mount'):.1f} s")
    assert seconds(machine, "wait-mount") < 30
    began = time.monotonic()
    machine.send("poweroff")
    machine.wait(90)
    print(f"poweroff took {time.monotonic() - began:.1f} s")
    assert is_clean(machine.disk)


def test_the_server_is_found_again_when_the_cable_was_out(client, realm):
    """With RPC2's timeout at 10 s and two tries it never was."""
    machine = client("coda.break=mount-dev")
    shell = machine.shell()
    machine.carrier(False)
    assert shell(f"cat {realm.root}/etc/passwd", timeout=120)[0] != 0
    assert "Unreachable" in shell(f"cfs lv -local {realm.root}")[1]
    machine.carrier(True)
    began = time.monotonic()
    while "Unreachable" in shell(f"sleep 1; cfs lv -local {realm.root}")[1]:
        assert time.monotonic() - began < 90
    print(f"found again {time.monotonic() - began:.1f} s after the cable was back")
    assert shell(f"cat {realm.root}/etc/passwd")[0] == 0


def test_a_cold_cache_says_that_the_server_is_missing_and_goes_on_when_it_is_back(client, realm, tmp_path):
    """Its cache is on a file system of its own, empty at first."""
    with open(tmp_path / "cache.img", "wb") as image:
        image.truncate(300 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "codacache", tmp_path / "cache.img"], check=True)
    realm.hold()
    machine = client("coda.wait-mount.timeout=20 coda.fsck-root.also=LABEL=codacache:/var/lib/coda",
                     root=tmp_path / "cache.img")
    machine.expect("the boot stopped at 'coda-wait-mount', exit status 99$", 180)
    reason = machine.expect(r"reason:  (.+)\n")[1]
    assert "its server is not reached" in reason
    shell = machine.shell()
    assert "/dev/vdb" in shell("grep ' /var/lib/coda ' /proc/mounts")[1]
    assert shell("ls /var/lib/coda/DATA")[0] == 0
    realm.release()
    machine.send("exit")
    machine.expect("coda-wait-mount: done", 90)
    shell = machine.shell()
    assert shell("cat /etc/motd") == (0, "a root in Coda")
