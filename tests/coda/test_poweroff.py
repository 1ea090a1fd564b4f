"""The end of a machine with its root in a real Coda: a poweroff loses nothing, a reset only what is young."""

import subprocess
import time

import pytest
from boot.conftest import is_clean, put
from client import login, must
from machine import BUILD, own_copy
from realm import ADMIN, ADMIN_PASSWORD

pytestmark = pytest.mark.coda

WORLD = "/run/coda/world"  # of venus, seen from the new root


def at_server(realm, text):
    """Whether a file with `text` in it has reached the server."""
    return subprocess.run(["grep", "-rqF", text, realm.work / "vicepa"]).returncode == 0


@pytest.mark.parametrize("cycles", [
    2, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_a_poweroff_leaves_the_disk_clean_and_loses_nothing(client, realm, cycles):
    """Every other cycle is without the server from before the boot to the end."""
    disk, written, took = None, [], {False: [], True: []}
    for cycle in range(cycles + 1):
        gone = bool(cycle % 2) and cycle < cycles
        if gone:
            realm.hold()
        machine = client("coda.fsck-root.verbose", disk=disk)
        shell, disk = machine.shell(), machine.disk
        if cycle:
            assert "codaboot: clean, " in must(shell, "cat /run/coda/log/coda-fsck-root")
            assert "Last shutdown was clean" in must(shell, "cat /run/coda/venus.log")
        must(shell, f"echo {ADMIN_PASSWORD} | chroot {WORLD} clog -pipe {ADMIN}@{realm.name}")
        if cycle == cycles:
            break
        written.append(f"cycle {cycle} of {machine.nonce}")
        must(shell, f"echo '{written[-1]}' >{WORLD}{realm.root}/mnt/cycle{cycle}")
        assert not gone or not at_server(realm, written[-1])
        began = time.monotonic()
        machine.send("poweroff")
        machine.wait(90)
        took[gone].append(round(time.monotonic() - began, 1))
        assert is_clean(disk)
        realm.release()
    print(f"poweroff took {took[False]} s, with the server gone {took[True]} s")
    must(shell, f"chroot {WORLD} cfs fr {realm.root}")
    assert [text for text in written if not at_server(realm, text)] == []
    must(shell, f"chroot {WORLD} sh -c 'rm {realm.root}/mnt/cycle*; cfs fr {realm.root}'")


def make_cache_disk(client, disk, image):
    """A disk for the cache alone, made as coda-venus-start(8) says, on a machine of `disk`."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "codacache", image, "300M"], check=True)
    subprocess.run(["tune2fs", "-o", "nodelalloc", image], check=True)
    put(disk, BUILD / "donor/usr/bin/chattr", "/usr/bin/chattr", 0o100755)
    machine = client("coda.break=fsck-root", disk=disk, cache=image)
    must(machine.shell(), "mount -t ext4 /dev/vdd /mnt && chattr +j /mnt && umount /mnt")
    machine.power_cut()


@pytest.mark.parametrize("own", [False, True], ids=["boot_disk", "disk_of_its_own"])
def test_what_venus_has_in_its_records_is_whole_after_a_reset(client, realm, coda_disk, tmp_path, own):
    """Its data was written before, and not half a minute later: else it is zeros, and a conflict."""
    append, image = "coda.break=mount-dev", None
    disk = own_copy(coda_disk / "disk.img", tmp_path / "disk.img")
    if own:
        image = tmp_path / "cache.img"
        make_cache_disk(client, disk, image)
        append += " coda.fsck-root.also=LABEL=codacache:/var/lib/coda"
    machine = client(append, disk=disk, cache=image)
    shell, place = machine.shell(), f"{realm.root}/mnt"
    assert own == (shell("grep ' /var/lib/coda ext4 ' /proc/mounts")[0] == 0)
    login(shell, realm)
    must(shell, f"mkdir {place}/kept; cfs fr {realm.root}")
    realm.hold()
    assert "Unreachable" in must(shell, f"cfs cs; cfs lv -local {realm.root}")
    texts = [f"file {number} of {machine.nonce}" for number in range(5)]
    for number, text in enumerate(texts):
        must(shell, f"(echo {text}; head -c 9999 /dev/zero) >{place}/new{number}"
                    f" && mv {place}/new{number} {place}/kept/file{number}")
    must(shell, "cfs truncatelog")
    machine.power_cut()
    realm.release()

    machine = client(append, disk=disk, cache=image)
    shell = machine.shell()
    assert "Last shutdown was dirty" in must(shell, "cat /run/coda/venus.log")
    login(shell, realm)
    must(shell, f"cfs fr {realm.root}")
    left = must(shell, f"cfs lv {realm.root}")
    assert "CML" not in left and "conflict" not in left, left
    assert [text for text in texts if not at_server(realm, text)] == []
    must(shell, f"rm -r {place}/kept; cfs fr {realm.root}")
