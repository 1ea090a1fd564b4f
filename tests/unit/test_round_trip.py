"""There and back: a tree that went into Coda, as Coda shows it, mounted as a client mounts it."""

import json
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import trees
from conftest import TOP, environment, load, need_programs, need_root
from hypothesis import given, settings

POPULATE = load("coda-populate-root")
LOOK = "import json, sys, trees; print(json.dumps([trees.everything(sys.argv[1]), " \
       "[sorted(one) for one in trees.names_of_one(sys.argv[1])]], default=lambda raw: raw.hex()))"


def mounted(place):
    """What a client sees: everything(), with bytes in hexadecimal, and the sets of names of one file."""
    script = ('cd "$1" && "$PYTHON" "$TOP/bin/coda-mount-root" --devices --secrets=secrets target root && '
              '"$PYTHON" -c "$LOOK" root')
    (place / "root").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", place], capture_output=True, timeout=60,
        env=environment(PYTHON=sys.executable, TOP=str(TOP), LOOK=LOOK, PYTHONPATH=":".join(
            [str(TOP / "lib"), str(TOP / "tests"), *(p for p in sys.path if p.endswith("site-packages"))])))
    assert done.returncode == 0, done.stderr.decode()
    found, names = json.loads(done.stdout)
    return found, {frozenset(one) for one in names}


def told(row):
    """A row of everything() as it is promised: where the group is nobody's matter, Coda's is as good."""
    mode, uid, gid, device, time, content, link, xattrs = row
    if stat.S_ISLNK(mode):
        mode = device = time = None
    return [mode, uid, 0 if gid == trees.NOBODY else gid, device, time, content, link, xattrs]


@settings(max_examples=8)
@given(trees.TREES)
def test_what_went_into_coda_comes_back_whole(made):
    need_root()
    need_programs("unshare")
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        source = trees.build(place / "source", made)
        POPULATE.main([f"--secrets={work}/secrets", str(source), f"{work}/target"])
        trees.crush(place / "target")
        found, names = mounted(place)
        del found[".coda-root"]
        original = json.loads(json.dumps(trees.everything(source), default=lambda raw: raw.hex()))
        assert {path: told(row) for path, row in found.items()} == {
            path: told(row) for path, row in original.items()}
        assert names == trees.names_of_one(source)
