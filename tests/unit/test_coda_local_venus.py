"""coda-local-venus: what it decides, how it refuses. The mount itself is tested in a VM."""

import errno
import os
import socket
import subprocess

import pytest
from codaboot import cli, facts


def mount(fstype):
    return facts.Mount("0:44", "/", "/coda", frozenset(), fstype, "coda", frozenset())


MOUNTED = mount("coda")


def test_it_mounts_where_no_coda_is(module):
    assert module.decide(None, False, "/coda") is True
    assert module.decide(None, True, "/coda") is True
    assert module.decide(mount("ext4"), False, "/coda") is True


def test_a_coda_mount_is_only_taken_over_when_told_so(module):
    assert module.decide(MOUNTED, True, "/coda") is False
    with pytest.raises(cli.Failure, match="already mounted") as caught:
        module.decide(MOUNTED, False, "/coda")
    assert caught.value.code == 1


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOENT, "module"), (errno.ENXIO, "module"), (errno.EBUSY, "another Venus"),
    (errno.EINVAL, "PID"), (errno.EPERM, None)])
def test_why_a_device_does_not_open(module, number, words):
    failure = module.explain(OSError(number, os.strerror(number)), "/dev/cfs0")
    assert failure.code == 1 and os.strerror(number) in str(failure)
    assert failure.hint is words is None or words in failure.hint


@pytest.fixture
def root(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    return tmp_path


def test_dry_run_says_what_it_would_do(run_command, root):
    done = run_command("coda-local-venus", "-n", f"--root={root}", "/srv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"serve /srv on {root}/dev/cfs0\nmount -t coda -o noatime coda /coda\n"
    (root / "proc/self/mountinfo").write_text("40 1 0:44 / /coda rw - coda coda rw\n")
    done = run_command("coda-local-venus", "-n", "--reattach", f"--root={root}", "/srv")
    assert done.stdout == f"serve /srv on {root}/dev/cfs0\n"


def test_it_fails_as_venus_does(run_command, root, tmp_path):
    for args, words in (
            ((f"--mount={tmp_path}", "/srv/none"), "cannot serve '/srv/none'"),
            ((f"--mount={tmp_path}", "/etc/passwd"), "cannot serve '/etc/passwd': Not a directory"),
            (("--mount=/none", "/srv"), "cannot mount '/none': no such directory"),
            (("/srv",), "cannot read the mount table")):
        prefix = root if args != ("/srv",) else root / "none"
        done = run_command("coda-local-venus", f"--root={prefix}", *args)
        assert (done.returncode, done.stdout) == (1, "") and words in done.stderr, done.stderr


def test_a_device_that_is_none_of_codas(module, tmp_path):
    with pytest.raises(cli.Failure, match="no Coda device"):
        module.open_device("/dev/null")
    with pytest.raises(cli.Failure, match="No such file") as caught:
        module.open_device(str(tmp_path / "cfs0"))
    assert "module" in caught.value.hint


def test_wrong_words(run_command):
    for args in ((), ("--semantics=posix", "/srv"), ("--mout=/coda", "/srv")):
        assert run_command("coda-local-venus", *args).returncode == 100


@pytest.fixture
def daemon(module, monkeypatch, tmp_path):
    """main() in a child with a stand-in server: how the parent and the daemon end."""
    here, there = socket.socketpair()

    def start(serve, *args):
        monkeypatch.setattr(module, "open_device", lambda path: there.fileno())
        monkeypatch.setattr(module, "open_directory", lambda path: os.open(path, os.O_PATH))
        monkeypatch.setattr(module, "serve", serve)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(tmp_path / "err", os.O_CREAT | os.O_RDWR), 2)
            try:
                status = module.main([f"--mount={tmp_path}", *args, str(tmp_path)])
            except cli.Failure as failure:
                os.write(2, str(failure).encode())
                status = failure.code
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (tmp_path / "err").read_text()
    yield start
    here.close()
    there.close()


def test_the_parent_returns_when_the_mount_answers(daemon, tmp_path):
    def serve(device, directory, args, to_mount, report):
        report(None)
        os.write(2, b"to the log")
    status, said = daemon(serve, f"--log={tmp_path}/log", f"--pid-file={tmp_path}/pid")
    assert (status, said) == (0, "")
    pid = int((tmp_path / "pid").read_text())
    subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=20, check=True)
    assert (tmp_path / "log").read_text() == "to the log"


def test_the_parent_says_why_it_is_not_mounted(daemon):
    assert daemon(lambda *args: args[-1]("cannot mount '/coda': no")) == (1, "cannot mount '/coda': no")


def test_a_file_that_cannot_be_written_is_a_reason(daemon, module, monkeypatch, tmp_path):
    taken_away = []
    monkeypatch.setattr(module, "unmount", lambda target: os.write(2, f"unmounts {target}; ".encode()))
    for option in ("--log", "--pid-file"):
        status, said = daemon(lambda *args: args[-1](None), f"{option}={tmp_path}/none/file")
        assert status == 1 and f"cannot write '{tmp_path}/none/file': No such file" in said
        taken_away.append("unmounts" in said)
    assert taken_away == [True, True]


def test_a_daemon_that_dies_is_noticed(daemon):
    status, said = daemon(lambda *args: os._exit(9))
    assert status == 1 and "the daemon ended at once" in said
