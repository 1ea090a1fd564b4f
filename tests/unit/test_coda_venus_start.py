"""coda-venus-start: with programs that have venus's manners, or bad ones."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from codaboot import cli, facts, wait
from conftest import command as run_process
from conftest import environment, need, need_programs, need_root
from venusstart import daemon

MOUNT = 'echo "30 20 0:9 / $CODA rw - coda coda rw" >>$ROOT/proc/self/mountinfo; touch $CODA/.CONTROL'


@pytest.fixture
def machine(tmp_path):
    """A root prefix: a kernel with Coda, a device, a mount point and nothing mounted."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("20 1 0:8 / / rw - ext4 /dev/vda rw\n")
    (tmp_path / "proc/filesystems").write_text("nodev\tproc\nnodev\tcoda\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/cfs0").touch()
    (tmp_path / "coda").mkdir()
    return tmp_path


@pytest.fixture
def start(machine):
    """Run the command on `machine` with a venus that is a shell script."""
    def start(script, *options, arguments=(), shebang="#!/bin/sh", timeout=20, **settings):
        venus = machine / "venus"
        venus.write_text(f"{shebang}\nROOT={machine} CODA={machine}/coda\n{script}\n")
        venus.chmod(0o755)
        return run_process(
            "coda-venus-start", f"--root={machine}", f"--coda={machine}/coda", f"--log={machine}/log/venus",
            f"--timeout={timeout}", *options, "--", venus, *arguments, **settings)
    return start


def test_serves(start, machine):
    done = start(f"echo said; {MOUNT}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (machine / "log/venus").read_text() == "said\n"


def test_already_so(start, machine):
    start(MOUNT)
    done = start("exit 1", "--verbose", "--config=/nowhere")
    assert done.returncode == 0
    assert "answers already" in done.stderr


def test_what_venus_is_given(start, machine):
    need(os.path.isdir("/proc/self/fd"), "/proc")
    script = f'''
    for word; do echo "[$word]"; done
    pwd
    for fd in /proc/$$/fd/[0-9]; do
        to=$(readlink $fd)  # in a pipe of the shell's own, which is no path
        case $to in /*) echo "${{fd##*/}} $to" ;; esac
    done
    cut -d' ' -f1,6 /proc/$$/stat
    tr '\\0' ' ' </proc/$$/cmdline; echo
    cat /proc/$$/oom_score_adj
    # Of a child, which inherits them: dash itself blocks all for a moment before it waits.
    grep -E 'Sig(Ign|Blk)' /proc/self/status
    {MOUNT}'''
    with open("/etc/passwd") as more:
        done = start(script, arguments=["a  b", "--help", "--"], pass_fds=[more.fileno()],
                     preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 0, done.stderr
    said = (machine / "log/venus").read_text().splitlines()
    assert said[:4] == ["[a  b]", "[--help]", "[--]", "/"]
    log = f"{machine}/log/venus"
    descriptors = dict(line.split(None, 1) for line in said[4:] if line[1:2] == " " and line[2:3] == "/")
    # 10 is the script itself, as dash has it.
    assert descriptors == {"0": "/dev/null", "1": log, "2": log}
    rest = said[4 + len(descriptors):]
    assert len(set(rest[0].split())) == 1  # the leader of its own session
    assert rest[1].startswith(f"@/bin/sh {machine}/venus a  b --help --")
    # Takes CAP_SYS_RESOURCE, which root in a container may lack.
    allowed = subprocess.run(["sh", "-c", "echo -1000 >/proc/self/oom_score_adj"], capture_output=True)
    if allowed.returncode == 0:
        assert rest[2] == "-1000"
    # 32 and 33 are the C library's own; make leaves them ignored, and only it could undo that.
    assert all(int(line.split()[1], 16) & ~0x180000000 == 0 for line in rest[3:])


def test_python_program_finds_its_library(start, machine):
    """With a strange argv[0] Python looks for its library in another way, most of all in /."""
    shebang = "#!/usr/bin/python3"
    need(os.path.exists(shebang[2:]), shebang[2:])
    venus = machine / "venus"
    venus.write_text(f"{shebang}\nimport json, sys\nprint(json.dumps(sys.path[1:]))\nsys.exit(1)\n")
    venus.chmod(0o755)
    env = environment()
    usual = subprocess.run([venus], cwd="/", text=True, capture_output=True, env=env).stdout
    run_process("coda-venus-start", f"--root={machine}", f"--coda={machine}/coda", f"--log={machine}/log",
                venus, env=env)
    assert json.loads((machine / "log").read_text()) == json.loads(usual)


def test_venus_fails(start):
    done = start("echo first; for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done; exit 1")
    assert done.returncode == 111
    assert "exit status 1" in done.stderr
    assert "venus: line 1\n" in done.stderr and "venus: line 10\n" in done.stderr
    assert "first" not in done.stderr


def test_only_this_start_is_shown(start):
    start("echo old; exit 1")
    done = start("echo new; exit 1")
    assert "new" in done.stderr and "old" not in done.stderr


@pytest.mark.parametrize("said, hint", [
    ("Probably another Venus is running! open failed for /dev/cfs0", "of any failed open; /dev/cfs0"),
    ("/coda already mounted", "/etc/mtab"),
    ("something new", "all it wrote is in"),
])
def test_hints(start, said, hint):
    assert hint in start(f"echo '{said}'; exit 1").stderr


def test_venus_is_killed(start):
    done = start("kill -SEGV $$")
    assert done.returncode == 128 + signal.SIGSEGV
    assert "SIGSEGV" in done.stderr


def test_venus_succeeds_and_nothing_answers(start):
    done = start("exit 0")
    assert done.returncode == 111
    assert "exit status 0" in done.stderr and "does not answer" in done.stderr


def test_venus_hangs(start, machine):
    done = start("echo $$; echo looking around; sleep 60 & wait", timeout=1)
    assert done.returncode == 99
    assert "has not returned" in done.stderr and "is not mounted" in done.stderr
    assert "venus: looking around" in done.stderr
    pid = int((machine / "log/venus").read_text().split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_missing_venus(run_command, machine):
    done = run_command("coda-venus-start", f"--root={machine}", f"--coda={machine}/coda", "--", "no-venus")
    assert done.returncode == 127


def test_venus_with_a_missing_interpreter(start):
    assert start("", shebang="#!/no/such/sh").returncode == 127


def test_dead_mount_is_in_the_way(start, machine):
    """A mount whose .CONTROL is not there and which is none is not waited for, or started over."""
    with open(machine / "proc/self/mountinfo", "a") as file:
        file.write(f"30 20 0:9 / {machine}/coda rw - coda coda rw\n")
    done = start(MOUNT)
    assert done.returncode == 111
    assert "No such file or directory" in done.stderr


def test_dry_run(start, machine):
    (machine / "proc/filesystems").write_text("nodev\tproc\n")
    (machine / "dev/cfs0").unlink()
    done = start("exit 1", "--dry-run", arguments=["a b"])
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "modprobe coda",
        f"test -e {machine}/dev/cfs0 || mknod -m 600 {machine}/dev/cfs0 c 67 0",
        f"setsid {machine}/venus 'a b' </dev/null >>{machine}/log/venus 2>&1"]
    assert not (machine / "log").exists()


def test_dry_run_takes_a_dead_mount_away(module, machine, monkeypatch, capsys):
    with open(machine / "proc/self/mountinfo", "a") as file:
        file.write(f"30 20 0:9 / {machine}/coda rw - coda coda rw\n")
    monkeypatch.setattr(module, "ask", lambda coda, deadline: errno.ENXIO)
    assert module.main([f"--root={machine}", f"--coda={machine}/coda", "-n", "true"]) == 0
    assert capsys.readouterr().out.startswith(f"umount {machine}/coda\nsetsid true ")


def test_a_mount_that_does_not_answer(module, machine, monkeypatch):
    with open(machine / "proc/self/mountinfo", "a") as file:
        file.write(f"30 20 0:9 / {machine}/coda rw - coda coda rw\n")
    monkeypatch.setattr(module, "ask", lambda coda, deadline: None)
    with pytest.raises(cli.TimedOut, match="is mounted, and its venus does not answer"):
        module.main([f"--root={machine}", f"--coda={machine}/coda", "true"])


def test_kernel_without_coda(start, machine, tmp_path):
    (machine / "proc/filesystems").write_text("nodev\tproc\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "modprobe").write_text('#!/bin/sh\necho "FATAL: Module $1 not found" >&2; exit 1\n')
    (programs / "modprobe").chmod(0o755)
    done = start(MOUNT, env=environment(PATH=f"{programs}:/usr/bin:/bin"))
    assert done.returncode == 4
    assert "FATAL: Module coda not found" in done.stderr


def test_device_that_cannot_be_made(start, machine):
    (machine / "dev/cfs0").unlink()
    shutil.rmtree(machine / "dev")
    (machine / "dev").touch()
    assert start(MOUNT).returncode == 111


@pytest.mark.parametrize("number, code", [
    (errno.EBUSY, 3), (errno.ENXIO, 4), (errno.ENODEV, 4), (errno.EINVAL, 111), (errno.EACCES, 111)])
def test_device_refuses(module, monkeypatch, number, code):
    def refuse(*args):
        raise OSError(number, os.strerror(number), args[0])
    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(cli.Failure) as failure:
        module.try_device("/dev/cfs0")
    assert failure.value.code == code


@pytest.mark.parametrize("options, code, words", [
    (["--config=/no/such"], 100, "cannot read the configuration"),
    (["--cache=/no/such"], 100, "no such directory"),
    (["--free=1"], 100, "--free without --cache"),
    (["--cache=/tmp", "--free=100000000000"], 111, "are free"),
    (["--cache=/tmp", "--free=much"], 100, "not a number of MB"),
])
def test_checks_come_before_the_start(start, machine, options, code, words):
    done = start(f"touch {machine}/ran; {MOUNT}", *options)
    assert done.returncode == code
    assert words in done.stderr
    assert not (machine / "ran").exists() and not (machine / "log").exists()


def test_no_mount_point(run_command, machine):
    done = run_command("coda-venus-start", f"--root={machine}", "--coda=/no/coda", "true")
    assert done.returncode == 100
    assert "mkdir /no/coda" in done.stderr


@pytest.mark.parametrize("head, file, argv", [
    (b"\x7fELF", "/sbin/venus", ["@venus"]),
    (b"#!/bin/sh\n", "/bin/sh", ["@/bin/sh", "/sbin/venus"]),
    (b"#! /bin/sh -e -x \n", "/bin/sh", ["@/bin/sh", "-e -x", "/sbin/venus"]),
    (b"#!/usr/bin/env python3\n", "/found/python3", ["@/found/python3", "/sbin/venus"]),
    (b"#!/usr/bin/env -S a b\n", "/usr/bin/env", ["@/usr/bin/env", "-S a b", "/sbin/venus"]),
    (b"#!\n", "/sbin/venus", ["@venus"]),
])
def test_command(head, file, argv):
    assert daemon.command("/sbin/venus", head, "venus", lambda name: f"/found/{name}") == (file, argv)


def test_minor(module):
    assert [module.minor(d) for d in ("/dev/cfs0", "/dev/cfs3", "/dev/coda/12", "/dev/coda")] == [0, 3, 12, 0]


def test_a_mark_that_was_written_over_is_put_back():
    helper = subprocess.Popen(["codatunneld", "-c", "while :; do sleep 9; done"], executable="/bin/sh")
    try:
        with open(f"/proc/{helper.pid}/cmdline") as line:
            while not line.read().startswith("codatunneld"):
                line.seek(0)  # it is still before its exec
            daemon.mark_again("/proc", helper.pid)
            line.seek(0)
            assert line.read().startswith("@odatunneld\0-c\0")
    finally:
        helper.kill()
        helper.wait()


def test_after_the_handoff_a_shutdown_is_told_of_the_new_venus(module, tmp_path, monkeypatch, capfd):
    world, omit = tmp_path / "world", tmp_path / "omit"
    monkeypatch.setattr(module, "WORLD", str(world))
    monkeypatch.setattr(module, "OMIT", str(omit))
    module.take_over([7, 8])
    assert not os.path.lexists(world)  # there was no handoff yet
    world.symlink_to("/proc/5/root")
    omit.write_text("5\n")
    module.take_over([7, 8])
    assert (os.readlink(world), omit.read_text()) == ("/proc/7/root", "5\n7\n8\n")
    omit.unlink()
    omit.mkdir()
    module.take_over([7, 8])
    assert "cannot tell a shutdown" in capfd.readouterr().err


@pytest.mark.parametrize("line, mounted", [
    ("30 20 0:9 / /coda rw - coda coda rw", True),
    ("30 20 0:9 / /coda rw - ext4 coda rw", False),
    ("30 20 0:9 / /coda/x rw - coda coda rw", False),
    ("30 20 0:9 / /coda rw - coda coda rw\n31 30 0:8 / /coda rw - tmpfs x rw", False),
])
def test_is_mounted(module, line, mounted):
    assert module.is_mounted(facts.parse_mountinfo(line), "/coda") is mounted


def test_ask(module, tmp_path):
    assert module.ask(str(tmp_path), wait.Deadline(5)) == errno.ENOENT
    (tmp_path / ".CONTROL").touch()
    assert module.ask(str(tmp_path), wait.Deadline(5)) == 0


def test_ask_ends_in_time(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "stat", lambda path: time.sleep(60))
    assert module.ask(str(tmp_path), wait.Deadline(0.2)) is None
    with pytest.raises(ChildProcessError):  # none is left
        os.waitpid(-1, os.WNOHANG)


def test_stop_finds_daemons_of_other_sessions(module):
    """However often it forks and makes sessions, what was started is ended."""
    need_programs("setsid")
    mark = f"{module.MARK}=test.{os.getpid()}"
    null = os.open("/dev/null", os.O_RDWR)
    env = {**os.environ, module.MARK: mark.partition("=")[2]}
    script = "setsid sh -c 'setsid sleep 61 & setsid sleep 62 & exit' & sleep 63"
    pid = daemon.spawn("/bin/sh", ["sh", "-c", script], env, null)
    os.close(null)
    limit = time.monotonic() + 10
    while len(daemon.family("/proc", mark)) < 4 and time.monotonic() < limit:
        time.sleep(0.05)
    assert len(daemon.family("/proc", mark)) >= 4
    daemon.stop("/proc", pid, mark)
    while daemon.family("/proc", mark) and time.monotonic() < limit:
        time.sleep(0.05)
    assert daemon.family("/proc", mark) == []


def test_users_of_a_dead_mount(module, tmp_path):
    child = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        assert module.users("/proc", str(tmp_path)) == f"process {child.pid}"
    finally:
        child.kill()
        child.wait()
    assert module.users("/proc", str(tmp_path)) == "an open file"


def test_busy_dead_mount(tmp_path):
    """In a mount namespace of its own: umount refuses, and the message says who is in the way."""
    need_root()
    need_programs("unshare", "mount")
    script = f"""
import os, sys
sys.path[:0] = {[p for p in sys.path if p]!r}
from conftest import load
from codaboot import cli
module = load("coda-venus-start")
os.chdir({str(tmp_path)!r})
try:
    module.umount_dead("/proc", {str(tmp_path)!r})
except cli.Failure as failure:
    assert f"process {{os.getpid()}}" in str(failure), failure
    assert failure.code == 2 and "umount -l" in failure.hint
    os.chdir("/")
    module.umount_dead("/proc", {str(tmp_path)!r})
    sys.exit(0 if not os.path.ismount({str(tmp_path)!r}) else 5)
sys.exit(6)
"""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$1" && exec "$2" -c "$3"', "sh", tmp_path,
         sys.executable, script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": tests})
    assert done.returncode == 0, done.stderr


# --- the real venus keeps a cache and records on disk -------------------------------------------

@pytest.fixture
def kept(machine):
    """A venus.conf, and the option for it."""
    conf = machine / "venus.conf"
    conf.write_text(f"cachedir={machine}/kept/cache\nrvm_log={machine}/kept/LOG\nrvm_data={machine}/kept/DATA\n"
                    f"checkpointdir={machine}/kept/spool\ncachesize=2MB\n")
    return f"--config={conf}"


INIT = "cd $ROOT/kept; if [ -e cache/INIT ]; then echo new; echo l >LOG; echo d >DATA; rm cache/INIT; fi"


def test_the_first_start_makes_cache_and_records_and_no_later_one(start, machine, kept):
    assert start(f"{INIT}; exit 1", kept).returncode == 111
    (machine / "kept/cache/file").touch()
    assert start(f"{INIT}; {MOUNT}", kept).returncode == 0
    assert (machine / "log/venus").read_text() == "new\n"


def test_records_that_are_half_there_are_kept(start, machine, kept):
    (machine / "kept/cache").mkdir(parents=True)
    (machine / "kept/LOG").write_text("log")
    done = start(f"{INIT}; {MOUNT}", kept)
    assert done.returncode == 5
    assert "the data is not there" in done.stderr and "--on-damage=renew" in done.stderr
    assert not (machine / "log/venus").exists()
    assert sorted(os.listdir(machine / "kept")) == ["LOG", "cache"]


COMPLAINS = "grep -q log kept/LOG && { echo 'Recov_InitRVM: RVM_INIT failed (RVM_ELOG)'; exit 1; }"


def test_records_that_venus_complains_of_are_kept_or_put_aside(start, machine, kept):
    (machine / "kept/cache").mkdir(parents=True)
    for name in ("LOG", "DATA"):
        (machine / "kept" / name).write_text("log")
    script = f"cd $ROOT; {COMPLAINS}; {INIT}; cd $ROOT; {MOUNT}"
    done = start(script, kept)
    assert done.returncode == 5
    assert "RVM_INIT failed" in done.stderr
    assert (machine / "kept/LOG").read_text() == "log"
    done = start(script, kept, "--on-damage=renew", "--free=0")
    if done.returncode == 5:  # less than 100 MB are free here
        pytest.skip("no room for a second cache")
    assert done.returncode == 0
    assert "names with '.damaged.1'" in done.stderr
    assert (machine / "kept/LOG.damaged.1").read_text() == "log"
    assert (machine / "kept/LOG").read_text() == "l\n"


def test_a_venus_that_crashes_over_its_records_is_not_waited_for(start, machine, kept):
    (machine / "kept/cache").mkdir(parents=True)
    for name in ("LOG", "DATA"):
        (machine / "kept" / name).write_text("log")
    began = time.monotonic()
    done = start("echo '11:21:19 DATA size is 1000000 bytes'\n"
                 "echo 'Fatal Signal (6); pid 9 becoming a zombie...'\nsleep 60", kept)
    assert done.returncode == 5
    assert "becoming a zombie" in done.stderr
    assert time.monotonic() - began < 10


def test_no_room_for_a_first_cache(start, machine, kept):
    conf = machine / "venus.conf"
    conf.write_text(conf.read_text().replace("2MB", "900TB"))
    done = start(MOUNT, kept)
    assert done.returncode == 111
    assert "are not free" in done.stderr
    assert not (machine / "kept").exists()


def test_a_policy_that_is_none(start, kept):
    assert start(MOUNT, kept, "--on-damage=wipe").returncode == 100
