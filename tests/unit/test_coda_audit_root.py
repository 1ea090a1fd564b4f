"""coda-audit-root: its verdicts, and that it finds in a stock Debian what find and getcap find."""

import json
import subprocess

import pytest
from conftest import TOP, command, need, need_programs, need_root

SAMPLE = TOP / "build/sample-systemd/source"


def audit(*args, **settings):
    done = command("coda-audit-root", *args, **settings)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir(mode=0o755)
    (tmp_path / "tree/file").write_text("x")
    (tmp_path / "tree/file").chmod(0o644)
    return tmp_path / "tree"


def test_the_verdict_is_the_status(tree):
    need_root()
    assert audit(tree) == (0, "Coda can hold all of it\n2 objects, 0.0 MiB\n")
    (tree / "file").chmod(0o4755)
    status, text = audit(tree)
    assert status == 2
    assert text.startswith("setuid: 1 set-user-ID programs\n    file  (4755 0:0)\n  if ignored: ")
    (tree / ".coda-root.new").touch()
    status, text = audit(tree)
    assert status == 3
    assert "reserved: 1 names that coda-populate-root needs for itself, needs a decision" in text


def test_json_has_all_of_them(tree):
    need_root()
    for number in range(9):
        (tree / f"p\udcff{number}").touch()
        (tree / f"p\udcff{number}").chmod(0o600)
    status, text = audit("--json", tree)
    report = json.loads(text)
    assert (status, report["status"]) == (2, "remedied by populate")
    assert (report["objects"], report["bytes"]) == (11, 1)
    assert {row["class"]: row["count"] for row in report["classes"]} == {"secret": 9}
    assert report["classes"][0]["objects"][8] == {"path": "p\udcff8", "note": "0600 0:0"}
    assert "and 8 more" in audit("--examples=1", tree)[1]


def test_a_tar_on_standard_input(tree):
    made = subprocess.run(["tar", "-C", tree, "--owner=0", "--group=0", "-czf", "-", "."],
                          capture_output=True, check=True).stdout
    import tempfile
    with tempfile.TemporaryFile() as file:
        file.write(made)
        file.seek(0)
        assert audit("-", stdin=file)[0] == 0


def test_what_cannot_be_read_is_refused(tmp_path):
    done = command("coda-audit-root", tmp_path / "gone")
    assert (done.returncode, done.stdout) == (100, "") and "cannot read" in done.stderr


def lines(*argv):
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines())


def test_a_stock_debian_is_audited_as_find_and_getcap_do(tmp_path):
    need_root()
    need(SAMPLE.exists(), "the sample new root ('make boot' builds it)")
    need_programs("getcap", "setcap", "cp")
    tree = tmp_path / "debian"
    subprocess.run(["cp", "-a", SAMPLE, tree], check=True)
    # A minbase has neither a capability nor a FIFO, nor a link across directories.
    subprocess.run(["setcap", "cap_net_raw+ep", tree / "usr/bin/perl"], check=True)
    subprocess.run(["mkfifo", tree / "var/spool/job"], check=True)
    (tree / "usr/games").mkdir(exist_ok=True)
    (tree / "usr/games/env").hardlink_to(tree / "usr/bin/env")

    report = json.loads(audit("--json", tree)[1])
    found = {row["class"]: {each["path"] for each in row["objects"]} for row in report["classes"]}
    emptied = " -o ".join(f"-path {tree}/{name}/*" for name in ("dev", "proc", "sys", "run"))
    prune = ["(", *emptied.split(), ")", "-prune", "-o"]

    def find(*test):
        return lines("find", tree, *prune, *test, "-printf", "%P\n")

    assert found["setuid"] == find("-perm", "/4000") and len(found["setuid"]) >= 8
    assert found["setgid"] == find("-perm", "/2000")
    assert found["special"] == find("!", "-type", "f", "!", "-type", "d", "!", "-type", "l")
    assert found["owner"] == find("!", "-uid", "0") != set()
    assert found["group"] == find("!", "-gid", "0") != set()
    assert {"etc/shadow", "etc/gshadow"} <= found["secret"]
    assert found["secret"] >= find("-type", "f", "!", "-perm", "-0044")
    assert found["capability"] == {line.removeprefix(f"{tree}/").rpartition(" ")[0]
                                   for line in lines("getcap", "-r", tree)}
    names = {}
    for line in lines("find", tree, *prune, "-type", "f", "-links", "+1", "-printf", "%i %P\n"):
        number, path = line.split(" ", 1)
        names.setdefault(number, set()).add(path)
    assert found["hardlink"] == {path for paths in names.values() for path in paths
                                 if len({path.rpartition("/")[0] for path in paths}) > 1} != set()
