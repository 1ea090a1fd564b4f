"""codaboot.wait: deadlines, descriptors, children, the mount table."""

import os
import subprocess
import sys
import time

import pytest
from codaboot import cli, wait
from conftest import environment, unshare


def test_deadline():
    assert wait.Deadline(None).left() is None
    assert not wait.Deadline(None).over()
    assert wait.Deadline(0).over() and wait.Deadline(0).left() == 0
    assert 9 < wait.Deadline(10).left() <= 10


def test_ready_names_the_descriptors_that_are():
    first, second = os.pipe(), os.pipe()
    os.write(second[1], b"x")
    assert wait.ready([first[0], second[0]], wait.Deadline(5)) == [second[0]]
    assert wait.ready([first[0]], wait.Deadline(0.05)) == []
    for fd in (*first, *second):
        os.close(fd)


def spawn(script):
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], {})


def test_child_gives_its_status_or_its_signal():
    assert wait.child(spawn("exit 3"), wait.Deadline(5), "it") == 3
    assert wait.child(spawn("kill -9 $$"), wait.Deadline(5), "it") == -9


def test_child_that_takes_too_long():
    pid = spawn("exec sleep 60")
    try:
        with pytest.raises(cli.TimedOut, match="cannot wait any longer for it"):
            wait.child(pid, wait.Deadline(0.05), "it")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_a_change_of_the_mount_table_is_an_event():
    """Seen from inside a namespace of its own, where a child mounts something after a while."""
    script = ("import os, subprocess, sys, time\nfrom codaboot import wait\n"
              "f = open('/proc/self/mountinfo'); f.read()\n"
              "quiet = wait.mounts_changed(f, wait.Deadline(0.1))\n"
              "child = subprocess.Popen(['sh', '-c', 'sleep 0.2; mount -t tmpfs none /mnt; sleep 5'])\n"
              "began = time.monotonic(); seen = wait.mounts_changed(f, wait.Deadline(4))\n"
              "print(quiet, seen, time.monotonic() - began < 3); child.kill()")
    done = subprocess.run([*unshare("-m"), sys.executable, "-c", script], capture_output=True, text=True,
                          env=environment())
    assert done.stdout == "False True True\n", done.stderr


def test_no_time_is_spent_when_nothing_is_waited_for():
    began = time.monotonic()
    wait.ready([], wait.Deadline(0))
    assert time.monotonic() - began < 1
