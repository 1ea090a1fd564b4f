"""coda-handoff: what can be started, and the handing over itself as process 1 of a namespace."""

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from codaboot import cli, facts
from conftest import TOP, environment, need, need_programs, need_root

BUSYBOX = "/bin/busybox"


def elf(interpreter=None, wide=True, order="<"):
    """A minimal ELF header with one program header before PT_INTERP, and that."""
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    text = (interpreter or "").encode() + b"\0"
    size, start = (56, 64) if wide else (32, 52)
    at = start + 2 * size + 10
    kinds = (6, 3 if interpreter else 1)
    if wide:
        head += struct.pack(order + "HHIQQQIHHHHHH", 2, 62, 1, 0, start, 0, 0, 64, size, 2, 0, 0, 0)
        rows = [struct.pack(order + "IIQQQQQQ", kind, 0, at, 0, 0, len(text), 0, 0) for kind in kinds]
    else:
        head += struct.pack(order + "HHIIIIIHHHHHH", 2, 3, 1, 0, start, 0, 0, 52, size, 2, 0, 0, 0)
        rows = [struct.pack(order + "IIIIIIII", kind, at, 0, 0, len(text), 0, 0, 0) for kind in kinds]
    return head + b"".join(rows) + bytes(10) + text


def reader(data):
    return lambda offset, size: data[offset:offset + size]


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", "<>")
def test_elf_interpreter(module, wide, order):
    assert module.interpreter(reader(elf("/lib/ld.so", wide, order))) == "/lib/ld.so"
    assert module.interpreter(reader(elf(None, wide, order))) is None


def test_real_program(module):
    data = Path(os.path.realpath(sys.executable)).read_bytes()
    assert os.path.exists(module.interpreter(reader(data)))


@pytest.mark.parametrize("head, interpreter", [
    (b"#!/bin/sh\n", "/bin/sh"), (b"#! /bin/sh -e\n", "/bin/sh"), (b"#!/bin/sh", "/bin/sh")])
def test_script_interpreter(module, head, interpreter):
    assert module.interpreter(reader(head)) == interpreter


@pytest.mark.parametrize("data", [b"", b"#!\n", b"echo\n", b"\x7fELF", b"\x7fELF\x09" + bytes(90)])
def test_what_is_no_program(module, data):
    with pytest.raises(ValueError):
        module.interpreter(reader(data))


def test_protected(module):
    processes = {
        1: (0, 0, "@init"), 5: (1, 0, "@venus\0-x"), 6: (5, 0, "codat"), 7: (6, 0, "deeper"),
        8: (1, 1000, "@user"), 9: (1, 0, "cron"), 10: (9, 0, "@lease")}
    assert module.protected(processes) == [5, 6, 7, 10]


def test_processes(module):
    parent, uid, line = module.processes("/proc")[os.getpid()]
    assert (parent, uid) == (os.getppid(), os.geteuid())
    assert line == Path("/proc/self/cmdline").read_text()


def test_environment(module):
    env = module.environment(["A=1", "B=x=y", "HOME=/x"], {"TERM": "vt100", "SECRET": "1"})
    assert env == {"PATH": env["PATH"], "HOME": "/x", "TERM": "vt100", "SYSTEMD_IN_INITRD": "0",
                   "A": "1", "B": "x=y"}
    assert module.environment([], {})["TERM"] == "linux"
    for wrong in ("A", "=x"):
        with pytest.raises(cli.UsageError):
            module.environment([wrong], {})


def test_unmounted(module):
    table = facts.parse_mountinfo(
        "30 20 0:9 / /new/dev rw - devtmpfs dev rw\n31 20 0:9 / /new/run rw - tmpfs x rw")
    assert module.unmounted(table, "/new") == ["proc", "sys", "run"]


@pytest.fixture
def new(tmp_path):
    """A new root with a statically linked busybox; its init is reached by absolute links."""
    need(os.path.exists(BUSYBOX), BUSYBOX)
    root = tmp_path / "new"
    for name in ("bin", "usr/lib", "proc", "sys", "dev", "run"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    shutil.copy(BUSYBOX, root / "bin/busybox")
    (root / "bin/sh").symlink_to("/bin/busybox")
    init = root / "usr/lib/real-init"
    init.write_text("#!/bin/sh\n")
    init.chmod(0o755)
    (root / "init").symlink_to("/lib/real-init")
    return root


def test_check_follows_links_inside(module, new):
    module.check_program(str(new), "/init")


@pytest.mark.parametrize("spoil, code, words", [
    ("rm init", 127, "init': No such file"),
    ("chmod 644 usr/lib/real-init", 126, "not executable"),
    ("rm bin/sh", 127, "bin/sh': No such file"),
    ("chmod 644 bin/busybox", 126, "bin/sh': not executable"),
    ("echo '#!/no/sh' >usr/lib/real-init", 127, "/no/sh"),
    ("echo text >usr/lib/real-init", 126, "neither a script"),
    ("rm init; mkdir init", 126, "not a file"),
    ("rm init; ln -s init init", 126, "symbolic link"),
])
def test_init_that_cannot_run(run_command, new, spoil, code, words):
    subprocess.run(spoil, shell=True, cwd=new, check=True)
    done = run_command("coda-handoff", "--dry-run", new, "--", "/init")
    assert done.returncode == code
    assert words in done.stderr and done.stdout == ""


def test_missing_loader(run_command, new):
    (new / "usr/lib/real-init").write_bytes(elf("/lib64/ld-none.so"))
    done = run_command("coda-handoff", "-n", new, "/init")
    assert done.returncode == 127
    assert "/lib64/ld-none.so" in done.stderr and "'/init' needs it" in done.stderr


def test_what_venus_means_by_an_error_is_told(module, new, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.facts, "inside", refuse)
    with pytest.raises(cli.Failure, match="init': Input/output error") as caught:
        module.check_program(str(new), "/init")
    assert "cachesize" in caught.value.hint and caught.value.code == 126


def test_missing_mount_points_are_all_named(run_command, new):
    (new / "sys").rmdir()
    (new / "run").rmdir()
    (new / "run").symlink_to("/run")
    done = run_command("coda-handoff", "-n", new, "/init")
    assert done.returncode == 100
    assert f"mkdir {new}/sys {new}/run" in done.stderr


@pytest.mark.parametrize("args, code", [
    (["/", "/sbin/init"], 100), (["/no/root", "/sbin/init"], 100), (["--mode=pivot", "NEW", "/init"], 100),
    (["--old=/mnt", "NEW", "/init"], 100), (["--old=/run/../mnt", "NEW", "/init"], 100),
    (["--env=A", "NEW", "/init"], 100), (["NEW"], 100), (["-n", "NEW", "no-such-program"], 127),
])
def test_refused(run_command, new, args, code):
    done = run_command("coda-handoff", *[str(new) if arg == "NEW" else arg for arg in args])
    assert done.returncode == code
    assert len(done.stderr.splitlines()) <= 2


def test_dry_run(run_command, new):
    before = Path("/proc/self/mountinfo").read_text()
    done = run_command("coda-handoff", "-n", "--env=A=b c", new, "--", "/init", "x y", "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == "unshare --mount" and lines[1] == f"mount --rbind {new} {new}"
    assert lines[-3:-1] == [f"cd {new} && mount --move . /", "chroot ."]
    assert lines[-1].startswith("exec env -i ") and lines[-1].endswith("'A=b c' /init 'x y' --help")
    assert f"mount --bind / {new}/run/coda/disk" in lines
    assert f"mount --bind / {new}/run/initramfs" not in lines  # a shutdown is for process 1
    assert Path("/proc/self/mountinfo").read_text() == before


def test_dry_run_chroot(run_command, new):
    lines = run_command("coda-handoff", "-n", "--mode=chroot", new, "--", "/init").stdout.splitlines()
    assert f"chroot {new}" in lines
    assert not [line for line in lines if "--move" in line or line == f"mount --rbind {new} {new}"]


@pytest.mark.parametrize("path, real", [
    ("/init", "usr/lib/real-init"), ("/lib/../init", "usr/init"), ("/../../lib/.", "usr/lib"),
    ("bin//sh", "bin/busybox"), ("/", ""), ("/usr/none", "usr/none")])
def test_inside(new, path, real):
    if real.endswith(("none", "usr/init")):
        with pytest.raises(FileNotFoundError) as error:
            facts.inside(str(new), path)
        assert error.value.filename == f"{new}/{real}"
    else:
        assert facts.inside(str(new), path).rstrip("/") == f"{new}/{real}".rstrip("/")


# --- the real thing, in namespaces that end with it --------------------

def as_first(new, tmp_path, *options, init=("/init",), prepare=""):
    """coda-handoff as process 1 of its own pid and mount namespaces, with a fresh /run."""
    need_root()
    need_programs("unshare", "mount", "bash")
    script = f"""
        mount --make-rprivate / && mount -t tmpfs run /run && mount -t proc proc /proc || exit 90
        mount -t tmpfs dev {new}/dev && : >{new}/dev/kept || exit 91
        mkdir /run/mine
        cp /proc/self/mountinfo /run/before
        {prepare}
        exec "$@"
    """
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script, "bash",
         sys.executable, TOP / "bin/coda-handoff", *options, new, "--", *init],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=tmp_path,
        env=environment(SECRET="1", TERM="vt220"))


def write_init(new, script):
    (new / "usr/lib/real-init").write_text(f"#!/bin/sh\nb=/bin/busybox\n{script}\n")


@pytest.mark.parametrize("mode", ["move", "chroot"])
def test_handoff(new, tmp_path, mode):
    write_init(new, """
        echo "pid $$"
        for word; do echo "[$word]"; done
        $b env | $b grep -vE '^(PWD|SHLVL|OLDPWD)='
        $b grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status
        $b ls /proc/$$/fd
        echo "umask $(umask) cwd $($b pwd)"
        [ -e /dev/kept ] && [ -d /run/mine ] && [ -d /sys/kernel ] && echo carried
        [ -e /run/coda/disk/etc/passwd ] && echo old
        $b unshare -U $b true 2>/dev/null && echo namespaces
        $b cut -d' ' -f5 /proc/self/mountinfo | $b head -1
        [ "$(cat /run/sendsigs.omit.d/coda)" = "$(cat /run/daemon)" ] && echo spared
        [ -e /run/coda/world/etc/passwd ] && [ -d /run/coda/world/run/mine ] && echo "daemon keeps its root"
        [ -e /run/initramfs/etc/passwd ] && echo "a way back"
        exit 7
    """.replace("$(cat", "$($b cat"))
    done = as_first(new, tmp_path, f"--mode={mode}", "--env=A=b c",
                    init=("/init", "x  y", "--help", "--", ""),
                    prepare="(trap '' CHLD HUP; exec -a @daemon sleep 60) & echo $! >/run/daemon; "
                            "exec 5</etc/passwd; trap '' INT; umask 077")
    assert done.returncode == 7, done.stderr
    said = done.stdout.splitlines()
    assert said[:5] == ["pid 1", "[x  y]", "[--help]", "[--]", "[]"]
    env = dict(line.split("=", 1) for line in said[5:10])
    assert env == {"PATH": env["PATH"], "HOME": "/", "TERM": "vt220", "SYSTEMD_IN_INITRD": "0",
                   "A": "b c"}
    # 32 and 33 are the C library's own; make leaves them ignored, and only it could undo that.
    assert [int(line.split()[1], 16) & ~0x180000000 for line in said[10:13]] == [0, 0, 0]
    rest = said[13:]
    # 10, if any, is the script that the shell reads.
    assert [line for line in rest if line.isdigit() and line != "10"] == ["0", "1", "2"]
    rest = [line for line in rest if not line.isdigit()]
    expected = ["umask 0022 cwd /", "carried", "old"]
    if subprocess.run(["unshare", "-U", "true"], capture_output=True).returncode == 0 and mode == "move":
        expected.append("namespaces")
    expected.append("/" if mode == "move" else "/dev")  # after a chroot, / is no mount point
    assert rest == [*expected, "spared", "daemon keeps its root", "a way back"]


RESCUE = """cat >/run/rescue <<'EOF'
#!/bin/sh
echo "rescue $1: $2"
diff /run/before /proc/self/mountinfo && echo unchanged
[ -e /run/rescue ] && [ -e /etc/passwd ] && echo "old root"
exit $1
EOF
chmod +x /run/rescue"""


@pytest.mark.parametrize("mode", ["move", "chroot"])
def test_failing_exec_is_undone(new, tmp_path, mode):
    """The last step of all: a program that passes the checks and that the kernel refuses."""
    foreign = bytearray(elf())
    foreign[18] = 0xff  # e_machine
    (new / "usr/lib/real-init").write_bytes(foreign)
    done = as_first(new, tmp_path, f"--mode={mode}", "--rescue=/run/rescue", prepare=RESCUE)
    assert done.returncode == 126, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("rescue 126: cannot do 'exec /init'")
    assert said[1:] == ["unchanged", "old root"]


def test_failing_mount_is_undone(new, tmp_path):
    """A directory that cannot be made, when most is mounted already."""
    done = as_first(new, tmp_path, "--rescue=/run/rescue", "--old=/run/before/disk", prepare=RESCUE)
    assert done.returncode == 111, done.stderr
    assert done.stdout.splitlines()[1:] == ["unchanged", "old root"]
    assert "cannot do 'mkdir -p /run/before/disk'" in done.stderr


def test_unknown_option_is_no_end(new, tmp_path):
    done = as_first(new, tmp_path, "--rescue=/run/rescue", "--no-such", prepare=RESCUE)
    assert done.returncode == 100
    assert done.stdout.splitlines()[1:] == ["unchanged", "old root"]


LINE = '{"name": "coda-handoff", "start": 1.5, "end": null, "status": null, "argv": ["\\"end\\": null"]}'


def test_record_is_completed(new, tmp_path):
    write_init(new, "$b cat /run/record")
    done = as_first(new, tmp_path, "--record=/run/record",
                    prepare=f"cat >/run/record <<'EOF'\n{{\"name\": \"init\", \"end\": 1}}\n{LINE}\nEOF\n")
    first, last = map(json.loads, done.stdout.splitlines())
    assert first == {"name": "init", "end": 1}
    assert last["status"] == 0 and last["end"] > 1.5 and last["argv"] == ['"end": null']


def test_complete(module, tmp_path):
    record = tmp_path / "record"
    record.write_text(LINE + "\n")
    module.complete(record, 0)
    module.complete(record, 126)  # the exec failed after all
    line = json.loads(record.read_text())
    assert line["status"] == 126 and line["argv"] == ['"end": null']
    for text in ("", "\n", "no JSON\n"):
        record.write_text(text)
        module.complete(record, 0)
        assert record.read_text() == text
    module.complete(tmp_path / "none", 0)


def test_failing_check_does_nothing(new, tmp_path):
    (new / "init").unlink()
    done = as_first(new, tmp_path, "--rescue=/run/rescue", prepare=RESCUE)
    assert done.returncode == 127
    assert done.stdout.splitlines()[1:] == ["unchanged", "old root"]


def test_without_rescue_it_ends(new, tmp_path):
    (new / "init").unlink()
    done = as_first(new, tmp_path)
    assert done.returncode == 127 and done.stdout == ""


def test_new_root_below_run(new, tmp_path):
    """Its own place must not be carried into itself."""
    write_init(new, "$b cut -d' ' -f5 /proc/self/mountinfo")
    there = "/run/there"
    done = as_first(new, tmp_path, init=("/init",), prepare=(
        f"mkdir {there} && mount --rbind {new} {there} && set -- \"$1\" \"$2\" {there} -- /init"))
    assert done.returncode == 0, done.stderr
    assert "/run/there" not in done.stdout.splitlines()


@pytest.mark.parametrize("mode", ["move", "chroot"])
def test_by_hand(new, tmp_path, mode):
    need_root()
    need_programs("unshare")
    before = Path("/proc/self/mountinfo").read_text()
    # Around it a mount namespace, for a /run of its own.
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         'mount -t tmpfs run /run; cp /proc/self/mountinfo /run/before; "$@"; status=$?; '
         'cmp /run/before /proc/self/mountinfo && exit $status', "sh", sys.executable,
         TOP / "bin/coda-handoff", f"--mode={mode}", new, "sh", "-c", "/bin/busybox ls /; exit 9"],
        capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 9, done.stderr
    assert done.stdout.split() == sorted(["bin", "dev", "init", "lib", "proc", "run", "sys", "usr"])
    assert Path("/proc/self/mountinfo").read_text() == before
