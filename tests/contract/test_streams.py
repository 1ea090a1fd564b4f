"""Streams and exit codes that all commands share."""

import subprocess
import sys

import pytest
from codaboot import VERSION
from conftest import COMMANDS, TOP, environment, need, unshare


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version_go_to_standard_output(run_command, name, option):
    done = run_command(name, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name} {VERSION}\n" if option == "--version" else f"{name} - ")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("wrong", ["--no-such-option", "--verb", "--no-such=x", "-Z"])
def test_unknown_and_abbreviated_options_are_named(run_command, name, wrong):
    done = run_command(name, wrong)
    assert (done.returncode, done.stdout) == (100, "")
    lines = done.stderr.splitlines()
    assert len(lines) <= 2
    assert lines[0] == f"{name}: unknown option '{wrong.split('=')[0]}'"


@pytest.mark.parametrize("name", COMMANDS)
def test_too_many_operands_are_a_usage_error(run_command, name):
    if "[ARG...]" in (TOP / "bin" / name).read_text() or "MOUNTPOINT..." in (TOP / "bin" / name).read_text():
        pytest.skip("takes any number of operands")
    done = run_command(name, "a", "b", "c", "d")
    assert (done.returncode, done.stdout) == (100, "")
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_output_that_cannot_be_written_is_a_failure(name):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, TOP / "bin" / name, "--help"], stdout=full,
                              stderr=subprocess.PIPE, env=environment())
    assert done.returncode != 0


@pytest.mark.parametrize("name", COMMANDS)
def test_closed_streams_and_an_ignoring_parent_do_no_harm(name):
    """As an init may start it: descriptors closed, SIGCHLD ignored, no environment to speak of."""
    bare = {"PYTHONPATH": environment()["PYTHONPATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    inner = f'trap "" CHLD; exec {sys.executable} {TOP}/bin/{name} --version <&- 2>&-'
    done = subprocess.run(["bash", "-c", inner], stdout=subprocess.PIPE, env=bare, cwd="/")
    assert (done.returncode, done.stdout) == (0, f"{name} {VERSION}\n".encode())
    closed = subprocess.run(["bash", "-c", f"exec {sys.executable} {TOP}/bin/{name} --no-such <&- >&- 2>&-"],
                            env=bare, cwd="/")
    assert closed.returncode == 100


@pytest.mark.parametrize("name", COMMANDS)
def test_help_on_a_read_only_root_without_tmp(name):
    """The world before fsck: nothing can be written, /tmp and /dev/pts are not there."""
    need(not TOP.is_relative_to("/tmp"), "a checkout that is not below /tmp, which is hidden here")
    script = ("mount -t tmpfs -o ro none /tmp && mount -t tmpfs none /dev/pts && mount -o remount,bind,ro /"
              f" && exec {sys.executable} {TOP}/bin/{name} --help")
    done = subprocess.run([*unshare("-m"), "sh", "-c", script], capture_output=True, text=True,
                          env=environment())
    assert (done.returncode, done.stderr) == (0, "")


