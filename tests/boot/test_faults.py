"""Boots that meet a fault: each names its reason within seconds and offers a way on."""

import os
import re
import subprocess
import time

import pytest
from boot.conftest import put
from machine import DEAD_NET, PROMPT

pytestmark = pytest.mark.boot


def stopped_at(machine, step, status, timeout=90):
    """Wait for init's rescue banner of `step`; its reason."""
    machine.expect(rf"the boot stopped at '{step}', exit status {status}$", timeout)
    return machine.expect(r"reason:  (.+)\n")[1]


def test_journal_is_replayed_and_the_boot_goes_on(boot, disk):
    first = boot(append="coda.break=coda-venus-start", disk=disk, keep=True)
    first.expect(PROMPT)
    # Written, and cut off before the journal is empty again.
    first.send("echo kept >/var/lib/coda/kept; sync; echo written")
    first.expect("^written")
    first.process.kill()
    first.process.wait()
    state = subprocess.run(["dumpe2fs", "-h", disk], capture_output=True, text=True).stdout
    assert "needs_recovery" in state
    second = boot(append="coda.break=coda-venus-start", disk=disk, keep=True)
    second.expect("coda-fsck-root: done")
    second.expect(PROMPT)
    second.send("cat /var/lib/coda/kept")
    second.expect("^kept")


def test_small_damage_of_the_root_is_repaired_and_the_machine_rebooted(boot, disk):
    damage(disk, "ssv free_blocks_count 7\nssv state 0\n")
    first = boot(disk=disk, keep=True)
    first.expect("coda-fsck-root: failed, exit status 2")  # the kernel must read it anew
    first.wait()  # QEMU ends where the machine would start again
    second = boot(disk=disk, keep=True)
    second.wait()
    assert second.proof()["root_fstype"] == ["coda"]
    check = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True)
    assert check.returncode == 0 or "recovering journal" in check.stdout + check.stderr, check.stdout


def test_damage_beyond_preen_is_repaired_by_hand_and_the_boot_resumes(boot, tmp_path):
    # Two files that claim the same blocks: e2fsck -p gives up, e2fsck -y gives each its own.
    cache = tmp_path / "cache.img"
    source = tmp_path / "file"
    source.write_bytes(b"x" * 40960)
    subprocess.run(["mke2fs", "-q", "-t", "ext2", cache, "8M"], check=True)
    damage(cache, f"write {source} a\nwrite {source} b\n")
    blocks = subprocess.run(["debugfs", "-R", "blocks a", cache], capture_output=True, text=True).stdout
    block = blocks.split()[0]
    damage(cache, f"sif b block[0] {block}\nssv state 2\n")
    machine = boot(append="coda.fsck-root.also=/dev/vdd:/mnt",
                   extra=["-drive", f"file={cache},format=raw,if=virtio"])
    assert "/dev/vdd" in stopped_at(machine, "coda-fsck-root", 4)
    machine.expect(PROMPT)
    machine.send("e2fsck -fy /dev/vdd >/dev/null; exit")
    machine.expect("coda-fsck-root: done")
    machine.wait()
    assert machine.proof()["root_fstype"] == ["coda"]


def damage(disk, script):
    subprocess.run(["debugfs", "-w", "-f", "-", disk], input=script, text=True, check=True,
                   capture_output=True)


def test_no_dhcp_server_is_said_per_link_in_time(boot):
    machine = boot(append="coda.netup.dhcp-timeout=3", nets=DEAD_NET)
    machine.expect("coda-netup \\.\\.\\.")
    before = time.monotonic()
    reason = stopped_at(machine, "coda-netup", 99)
    assert time.monotonic() - before < 30
    assert "coda-netup" in reason
    assert re.search(r"coda-netup: eth0: carrier, \d requests sent, no answer in 3 s", machine.text)


def test_venus_that_exits_at_once(boot, disk, tmp_path):
    script = tmp_path / "quits"
    script.write_text("#!/bin/sh\necho 'quits: out of sorts'\nexit 1\n")
    put(disk, script, "/usr/local/sbin/quits")
    machine = boot(append="coda.venus=quits", disk=disk)
    assert "exit status 1" in stopped_at(machine, "coda-venus-start", 111)
    assert "quits: out of sorts" in machine.text


def test_venus_that_hangs(boot, disk, tmp_path):
    script = tmp_path / "hang"
    script.write_text("#!/bin/sh\necho 'hang: waiting for nothing'\nsleep 1000\n")
    put(disk, script, "/usr/local/sbin/hang")
    machine = boot(append="coda.venus=hang coda.venus-start.timeout=3", disk=disk)
    stopped_at(machine, "coda-venus-start", 99)
    assert "hang: waiting for nothing" in machine.text
    machine.expect(PROMPT)
    machine.send("pidof sleep || echo none is left")
    machine.expect("^none is left")


def test_new_root_that_is_not_there(boot):
    machine = boot(append="coda.root=/coda/nowhere coda.wait-mount.timeout=4")
    assert "/coda/nowhere" in stopped_at(machine, "coda-wait-mount", r"\d+")


def test_init_that_is_not_there_put_right_by_hand(boot):
    machine = boot(append="coda.wait-mount.timeout=4 coda.init=/sbin/my-init")
    assert "/sbin/my-init" in stopped_at(machine, "coda-wait-mount", r"\d+")
    machine.expect(PROMPT)
    machine.send("ln -s ../bin/busybox /srv/coda/linuxroot/sbin/my-init; exit")
    machine.expect("coda-wait-mount: done")


def test_unattended_machine_powers_off_after_a_failure(boot):
    machine = boot(append="coda.venus=nothing coda.onfail=poweroff coda.onfail-after=1")
    machine.expect("poweroff in 1 s, as coda.onfail says")
    machine.seen = len(machine.text)
    machine.wait(60)
    assert os.path.getsize(machine.marker_image) and not machine.marker_image.read_bytes().strip(b"\0")
