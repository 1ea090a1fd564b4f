"""coda-wait-mount: what each answer of Coda means, and how long to believe it."""

import errno
import os
import threading
import time

import pytest
from codaboot import cli, wait


@pytest.fixture
def place(tmp_path):
    """A directory that the mount table below tmp_path calls a Coda mount, with a new root in it."""
    root = tmp_path / "coda" / "new"
    (root / "usr/lib").mkdir(parents=True)
    (root / "sbin").mkdir()
    (root / "lib").symlink_to("usr/lib")
    init = root / "usr/lib/systemd"
    init.write_text("#!/bin/sh\n")
    init.chmod(0o755)
    (root / "sbin/init").symlink_to("/lib/systemd")  # absolute: from the new root
    (tmp_path / "coda/.CONTROL").touch()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(f"30 20 0:9 / {tmp_path}/coda rw - coda coda rw\n")
    return root


@pytest.fixture
def call(run_command, tmp_path, place):
    def call(*args, root=place, settle=0.2, timeout=1.5):
        return run_command("coda-wait-mount", f"--root={tmp_path}", f"--coda={tmp_path}/coda",
                           f"--settle={settle}", f"--timeout={timeout}", *args, root)
    return call


def test_all_is_there(call):
    done = call()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_names_the_root(call, place):
    assert f"'{place}' is there" in call("-v").stderr


def test_no_mount_is_99_and_named(call, tmp_path):
    (tmp_path / "proc/self/mountinfo").write_text(f"30 20 0:9 / {tmp_path}/coda rw - ext4 /dev/vda rw\n")
    done = call()
    assert done.returncode == 99
    first, last, hint = done.stderr.splitlines()
    assert "waiting for a mount of Coda" in first and first.endswith("s left")
    assert "cannot wait any longer for a mount of Coda" in last
    assert "coda-venus-start" in hint


def test_a_plain_directory_is_no_answer(call, tmp_path):
    (tmp_path / "coda/.CONTROL").unlink()
    assert call().returncode == 2


def test_no_root(call, place):
    done = call(root=place.parent / "other")
    assert done.returncode == 3
    assert f"'{place.parent}/other': No such file or directory" in done.stderr


def test_root_is_a_file(call, place):
    (place.parent / "file").touch()
    assert call(root=place.parent / "file").returncode == 3


@pytest.mark.parametrize("target", ["#@realm.", "@7f000001"])
def test_dangling_link_of_coda_is_no_definite_no(call, place, target):
    (place.parent / "realm").symlink_to(target)
    done = call(root=place.parent / "realm/new")
    assert done.returncode == 99
    assert f"'{place.parent}/realm': its server is not reached" in done.stderr


def test_no_init(call, place):
    done = call("--init=/sbin/other")
    assert done.returncode == 4
    assert f"'{place}/sbin/other'" in done.stderr and "--init" in done.stderr


@pytest.mark.parametrize("spoil", ["mode", "directory", "loop", "outside"])
def test_init_that_cannot_be_run(call, place, spoil):
    init = place / "usr/lib/systemd"
    if spoil == "mode":
        init.chmod(0o644)
    else:
        init.unlink()
        if spoil == "directory":
            init.mkdir()
        else:
            # /bin/sh is there on this machine, and not in the new root.
            init.symlink_to("/lib/systemd" if spoil == "loop" else "/bin/sh")
    assert call().returncode == 4


def test_what_appears_while_waiting_is_seen(call, place, tmp_path):
    late = place.parent / "late"
    timer = threading.Timer(0.5, lambda: place.rename(late))
    timer.start()
    done = call(root=late, settle=5, timeout=20)
    timer.join()
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1


def test_dry_run_asks_nothing(run_command):
    done = run_command("coda-wait-mount", "-n", "/coda/a/b")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "stat /coda/.CONTROL", "stat /coda/a", "stat /coda/a/b", "stat /coda/a/b/sbin/init"]


@pytest.mark.parametrize("args", [["--timeout=soon", "/coda/x"], [], ["--settle=-1", "/coda/x"]])
def test_wrong_usage(run_command, args):
    assert run_command("coda-wait-mount", *args).returncode == 100


@pytest.mark.parametrize("number, missing, state", [
    (errno.ENXIO, "NO_INIT", "GONE"), (errno.EIO, "NO_ROOT", "GONE"),
    (errno.ENOENT, "NO_ROOT", "NO_ROOT"), (errno.EACCES, "NO_INIT", "NO_INIT"),
    (errno.ENOENT, "GONE", "GONE"),
    (errno.EINVAL, "NO_ROOT", "UNREACHABLE"), (errno.ENODEV, "NO_ROOT", "UNREACHABLE"),
    (errno.ETIMEDOUT, "NO_INIT", "UNREACHABLE"), (658, "NO_ROOT", "UNREACHABLE"),
])
def test_judge(module, number, missing, state):
    found = module.judge(number, "/coda/x", getattr(module, missing))
    assert found.state == getattr(module, state)
    assert found.text.startswith("'/coda/x': ")


@pytest.mark.parametrize("coda, root, paths", [
    ("/coda", "/coda/a/b", ["/coda/a", "/coda/a/b"]),
    ("/coda", "/codary/a", ["/codary/a"]),
    ("/coda", "/run/overlay", ["/run/overlay"]),
])
def test_way(module, coda, root, paths):
    assert module.way(coda, root) == paths


def test_every_state_has_a_hint(module):
    assert set(module.HINTS) == set(range(module.HERE))


def arguments(tmp_path, place):
    return {"--coda": f"{tmp_path}/coda", "ROOT": str(place), "--init": "/sbin/init", "--root": str(tmp_path),
            "--cfs": None, "--require": "cached"}


def test_a_look_that_blocks_does_not_defeat_the_deadline(module, tmp_path, place, capfd, monkeypatch):
    monkeypatch.setattr(module, "look", lambda *paths: time.sleep(60))
    began = time.monotonic()
    with pytest.raises(cli.TimedOut, match="an answer from"):
        module.await_root(arguments(tmp_path, place), wait.Deadline(1.5), 0.1)
    assert time.monotonic() - began < 4
    assert "waiting for an answer from" in capfd.readouterr().err
    with pytest.raises(ChildProcessError):  # none is left
        os.waitpid(-1, os.WNOHANG)


def test_a_definite_no_must_hold(module, tmp_path, place, monkeypatch):
    # A dead venus that is started again within the settling time is no failure.
    began = time.monotonic()

    def look(*paths):
        if time.monotonic() - began < 0.5:
            return module.Finding(module.GONE, "'/coda': No such device or address")
        return module.Finding(module.HERE, "it")

    monkeypatch.setattr(module, "look", look)
    found = module.await_root(arguments(tmp_path, place), wait.Deadline(20), 10)
    assert found.state == module.HERE
    began = time.monotonic() + 60
    with pytest.raises(cli.Failure) as failure:
        module.await_root(arguments(tmp_path, place), wait.Deadline(20), 0.2)
    assert failure.value.code == 2


def test_lines_are_spaced(module, monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.say, "line", lines.append)
    speaker = module.Speaker(wait.Deadline(100))
    for tenth in range(600):
        clock[0] = tenth / 10
        speaker.speak(module.Finding(0, "x"))
    assert 4 <= len(lines) <= 7
    assert lines[0] == "waiting for x, 99 s left"


@pytest.fixture
def cfs(tmp_path):
    """A tool of venus that says what the real one says of a volume."""
    program = tmp_path / "cfs"

    def says(state, more=""):
        program.write_text(f"#!/bin/sh\necho '  Connection State is {state}'\n{more}\n")
        program.chmod(0o755)
        return f"--cfs={program}"
    return says


@pytest.mark.parametrize("state, more, word", [
    ("Reachable", "", "connected"), ("Unreachable", "", "disconnected"), ("Resolving", "", "connected"),
    ("Reachable", "echo '  There are 2 CML entries pending for reintegration (565 bytes)'", "weak")])
def test_the_state_of_the_connection_is_the_output(call, cfs, state, more, word):
    done = call(cfs(state, more))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{word}\n", "")


@pytest.mark.parametrize("state", ["Unreachable", ""])
def test_from_the_cache_alone_is_not_enough_when_connected_is_required(call, cfs, state):
    done = call(cfs(state), "--require=connected")
    assert (done.returncode, done.stdout) == (5, "")
    assert "from the cache alone" in done.stderr and "--require=cached" in done.stderr


def test_weak_is_connected_and_a_server_that_comes_back_is_seen(call, cfs, tmp_path):
    done = call(cfs("Unreachable", "echo '#!/bin/sh\necho \"  Connection State is Reachable\"' >$0.new; "
                                   "chmod 755 $0.new; mv $0.new $0"), "--require=connected", timeout=20)
    assert (done.returncode, done.stdout) == (0, "connected\n")


def test_a_cfs_that_is_not_there(call):
    assert call("--cfs=/nowhere/cfs").returncode == 127
    assert call("--require=connected").returncode == 100
    assert call("--require=much").returncode == 100
