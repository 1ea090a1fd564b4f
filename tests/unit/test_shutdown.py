"""etc/shutdown: which way the machine goes off, in a chroot of fakes, as test_init.py has it."""

import os
import shutil
import subprocess

import pytest
from conftest import TOP, need, unshare


@pytest.fixture
def shutdown(tmp_path):
    """Run the script with a verb or none; what was called, in order. A way off that works ends it."""
    need(shutil.which("busybox"), "busybox")
    for folder in ("bin", "dev", "proc", "run/coda", "usr/local/sbin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "bin/busybox")
    (tmp_path / "bin/sh").symlink_to("busybox")
    for device in ("null", "console"):
        (tmp_path / "dev" / device).touch()
    shutil.copy(TOP / "etc/shutdown", tmp_path / "shutdown")

    def program(name, text):
        path = tmp_path / "usr/local/sbin" / name
        path.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>/events\n{text}\n')
        path.chmod(0o755)

    program("sleep", "")
    for name in ("reboot", "poweroff", "halt"):
        program(name, "kill -9 $PPID")

    def run(*arguments, world=True, leaves=0, **environment):
        program("coda-leave-root", f"exit {leaves}")
        if world:
            (tmp_path / "run/coda/world").symlink_to("/")
        subprocess.run([*unshare("-m"), "chroot", tmp_path, "/shutdown", *arguments], timeout=30,
                       stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], **environment})
        return (tmp_path / "events").read_text().splitlines()
    return run


LEAVE = "coda-leave-root "


@pytest.mark.parametrize("verb, end", [
    ("poweroff", "poweroff -f"), ("reboot", "reboot -f"), ("halt", "halt -f"), ("kexec", "reboot -f")])
def test_systemd_gives_the_verb(shutdown, verb, end):
    assert shutdown(verb, "--timeout=90", "--log-level=6") == [LEAVE, end]


@pytest.mark.parametrize("runlevel, init_halt, end", [
    ("6", "", "reboot -f"), ("0", "", "poweroff -f"), ("0", "POWEROFF", "poweroff -f"),
    ("0", "HALT", "halt -f")])
def test_sysvinit_has_it_in_the_environment(shutdown, runlevel, init_halt, end):
    assert shutdown(RUNLEVEL=runlevel, INIT_HALT=init_halt) == [LEAVE, end]


def test_busybox_goes_on_by_itself(shutdown):
    assert shutdown() == [LEAVE]


def test_a_disk_in_use_is_forced(shutdown, tmp_path):
    assert shutdown("poweroff", leaves=2) == [LEAVE, "sleep 1", "sleep 1", "poweroff -f"]
    assert (tmp_path / "proc/sysrq-trigger").read_text() == "u\n"


def test_without_venus_there_is_no_world_and_all_is_forced(shutdown):
    assert shutdown("reboot", world=False) == [LEAVE, "sleep 1", "sleep 1", "reboot -f"]
