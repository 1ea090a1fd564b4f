"""coda-leave-root: who ends and when, which disks become read-only, and what is said if not."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from codaboot import facts, mount
from conftest import TOP, environment, need_programs, need_root, unshare

PROCESSES = {
    1: (0, "/sbin/init\0"), 2: (0, ""), 3: (2, ""),
    10: (1, "@coda-netup\0--link=eth0\0"), 11: (1, "@venus\0"), 12: (11, "codatu"), 13: (12, "x\0"),
    20: (1, "getty\0"), 21: (20, "-sh\0"),
    30: (1, "/etc/init.d/rc\0"), 31: (30, "sh\0"), 32: (31, "python3\0"), 33: (32, "its child\0")}


def test_the_system_ends_before_those_that_serve_it(module):
    assert module.to_end(PROCESSES, 32) == ([20, 21, 33], [10, 11, 12, 13])


def test_nobody_ends_who_waits_for_us(module):
    assert module.to_end(PROCESSES, 13) == ([20, 21, 30, 31, 32, 33], [10])
    assert module.to_end({1: (0, "@init\0"), 5: (1, "@x\0")}, 1) == ([], [5])


MOUNTS = """\
20 1 254:0 / / rw - ext4 /dev/vda rw
21 20 0:5 / /proc rw - proc proc rw
22 20 254:16 / /srv/coda rw - ext4 /dev/vdb rw
23 20 0:40 / /coda rw - coda coda rw
24 20 7:0 / /srv/coda/loop rw - ext4 /dev/loop0 rw
25 20 254:32 / /mnt rw - ext4 /dev/vdc ro
26 20 254:0 / /run/coda/disk rw - ext4 /dev/vda rw
27 20 0:50 / /cache rw - btrfs /dev/vdd rw
"""


def test_disks_become_read_only_in_turn(module):
    disks = module.writable_disks(facts.parse_mountinfo(MOUNTS))
    assert [disk.target for disk in disks] == ["/cache", "/srv/coda/loop", "/srv/coda", "/"]


@pytest.fixture
def disk():
    return facts.parse_mountinfo("22 20 254:16 / /srv rw - ext4 /dev/vdb rw\n")[0]


def test_a_disk_that_stays_in_use_is_named(module, disk, monkeypatch, capfd):
    def refuse(*_):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    monkeypatch.setattr(mount, "mount", refuse)
    assert module.make_read_only(disk, "/proc", 0.2) is False
    said = capfd.readouterr().err
    assert "cannot make '/srv' read-only: Device or resource busy" in said
    assert "(/dev/vdb is used by no process; a swap file" in said


def test_what_time_cannot_change_is_not_waited_for(module, disk, monkeypatch):
    calls = []

    def refuse(*_):
        calls.append(1)
        raise OSError(errno.EINVAL, "")
    monkeypatch.setattr(mount, "mount", refuse)
    assert module.make_read_only(disk, "/proc", 30) is False
    assert len(calls) == 1


def test_writers_are_told_from_readers(module, tmp_path):
    device = os.stat(tmp_path).st_dev
    name, path = f"{os.major(device)}:{os.minor(device)}", tmp_path / "file"
    for mode, word in (("w", f"(sleep 60) writes '{path}'"), ("r", "no process")):
        with open(path, mode) as file, subprocess.Popen(
                ["sleep", "60"], stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            said = module.writers("/proc", name, {child.pid: (1, "sleep\00060\0")})
            child.kill()
        assert word in said


def test_who_does_not_end_is_forced(module, capfd):
    stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; echo ready; while :; do read x; done"],
                                stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    stubborn.stdout.readline()
    module.end([stubborn.pid, 99999999], {}, 0.2, signal.SIGTERM)
    assert stubborn.wait() == -signal.SIGKILL
    assert capfd.readouterr().err == ""


def test_an_interactive_shell_on_the_console_is_not_waited_for(module):
    """It ignores SIGTERM, and would cost each poweroff the whole grace."""
    need_programs("busybox")
    master, terminal = os.openpty()
    shell = subprocess.Popen(["busybox", "sh", "-i"], stdin=terminal, stdout=terminal, stderr=terminal,
                             start_new_session=True, env={"PS1": "ready"},
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    said = b""
    while b"ready" not in said:
        said += os.read(master, 100)
    module.end([shell.pid], {}, 30, signal.SIGTERM, signal.SIGHUP)
    assert shell.wait() == -signal.SIGHUP
    os.close(master)
    os.close(terminal)


def test_another_machine_is_left_alone(run_command, tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    done = run_command("coda-leave-root", f"--root={tmp_path}")
    assert done.returncode == 100 and "coda-boot has not booted this machine" in done.stderr


def test_all_at_once(tmp_path):
    """A disk whose file is closed only when the right one ends.

    The processes and mounts it sees are those of this test alone: it would end all, and a file
    system made read-only is so in every namespace.
    """
    need_root()
    need_programs("mke2fs", "dumpe2fs", "mount", "bash")
    image, mountpoint, proc = tmp_path / "disk.img", tmp_path / "mnt", tmp_path / "proc"
    for folder in (mountpoint, proc / "self", tmp_path / "run/coda"):
        folder.mkdir(parents=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", image, "16M"], check=True)
    venus = 'exec 5>unsent; trap "echo flushed >&5; exit" TERM; while :; do sleep 0.1; done'
    script = f"""
        mount -o loop {image} {mountpoint} || exit 90
        grep ' {mountpoint} ' /proc/self/mountinfo >{proc}/self/mountinfo
        (cd {mountpoint}; exec -a @venus bash -c '{venus}') &
        ln -s /proc/$! {proc}
        sleep 100 &
        ln -s /proc/$! {proc}
        until [ -e {mountpoint}/unsent ]; do sleep 0.1; done
        {sys.executable} {TOP}/bin/coda-leave-root --root={tmp_path} --verbose || exit
        cat {mountpoint}/unsent; dumpe2fs -h {image}
    """
    done = subprocess.run([*unshare("--mount"), "bash", "-c", script],
                          capture_output=True, text=True, timeout=60, env=environment())
    if done.returncode == 90:
        pytest.skip("needs loop devices")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flushed\n") and "needs_recovery" not in done.stdout
    said = [line.split(None, 2)[1] for line in done.stderr.splitlines() if line.startswith("coda-leave-root")]
    assert said == ["sync", "kill", "kill", "mount"]
