"""What the real venus keeps: which state it is in, and what a failed venus said of it."""

import pytest
from codaboot import cli
from realvenus import store

# As the real one wrote them: a log of garbage, data of garbage, data cut short.
GARBAGE_LOG = """
11:21:12 Coda Venus, version 8.1.7~dev0
codatunneld started
11:21:12 /var/lib/coda/LOG size is 1000000 bytes
11:21:12 /var/lib/coda/DATA size is 100041194 bytes
open_log failed.
do_rvm_options failed
11:21:12 Recov_InitRVM: RVM_INIT failed (RVM_ELOG)
"""
GARBAGE_DATA = """
11:22:55 /var/lib/coda/DATA size is 100041194 bytes
11:22:55 Loading RVM data
Error rvm_load_segment returns 2000
11:22:55 Recov_InitRDS: rds_load_heap failed (Invalid RVM return code)
"""
SHORT_DATA = """
11:21:19 /var/lib/coda/LOG size is 25012736 bytes
11:21:19 /var/lib/coda/DATA size is 1000000 bytes
11:21:19 Fatal Signal (6); pid 1093 becoming a zombie...
11:21:19 You may use gdb to attach to 1093
"""
# Nothing to do with the records.
MOUNTED = """
11:20:24 /var/lib/coda/DATA size is 100041194 bytes
11:20:24 Loading RVM data
11:20:24 Last shutdown was dirty
11:20:25 Mounting root volume...
11:20:25 /coda already mounted
"""
LATER = MOUNTED.replace("/coda already mounted", "Fatal Signal (11); pid 9 becoming a zombie...")


@pytest.mark.parametrize("said, line", [
    (GARBAGE_LOG, "11:21:12 Recov_InitRVM: RVM_INIT failed (RVM_ELOG)"),
    (GARBAGE_DATA, "Error rvm_load_segment returns 2000"),
    (SHORT_DATA, "11:21:19 Fatal Signal (6); pid 1093 becoming a zombie..."),
    (MOUNTED, None), (LATER, None), ("", None),
    ("Probably another Venus is running! open failed for /dev/cfs0", None)])
def test_complaints(said, line):
    assert store.complaint(said) == line


@pytest.mark.parametrize("log, data, names, state", [
    (None, None, [], store.NEW), (None, None, ["lost+found", "CACHEDIR.TAG"], store.NEW),
    (None, None, ["INIT"], store.BEGUN), (25, 100, ["0", "INIT"], store.BEGUN),
    (25, 100, ["0"], store.WHOLE), (25, 100, [], store.WHOLE),  # venus makes lost cache files anew
    (None, None, ["0"], store.DAMAGED), (25, None, [], store.DAMAGED), (None, 100, [], store.DAMAGED),
    (0, 100, ["0"], store.DAMAGED), (25, 0, ["0"], store.DAMAGED)])
def test_states(log, data, names, state):
    found, what = store.judge(log, data, names)
    assert found == state
    assert bool(what) == (state == store.DAMAGED)


@pytest.fixture
def kept(tmp_path):
    return store.Store(f"cachedir={tmp_path}/cache\nrvm_log={tmp_path}/LOG\nrvm_data={tmp_path}/DATA\n"
                       f"checkpointdir={tmp_path}/spool\ncachesize=20MB\n")


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """Enough of it, whatever the machine has."""
    monkeypatch.setattr(store.Store, "fits", lambda kept: True)


def test_a_first_start_is_prepared(kept, tmp_path):
    kept.prepare()
    assert (tmp_path / "cache/INIT").exists() and (tmp_path / "spool").is_dir()
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert kept.look() == (store.BEGUN, "")


def test_a_later_start_is_left_alone(kept, tmp_path):
    (tmp_path / "cache").mkdir()
    for name in ("LOG", "DATA"):
        (tmp_path / name).write_text("x")
    kept.prepare()
    assert not (tmp_path / "cache/INIT").exists()


def test_damage_names_what_to_copy_away(kept, tmp_path):
    (tmp_path / "LOG").write_text("x")
    with pytest.raises(store.Damaged, match="the data is not there") as failure:
        kept.prepare()
    assert failure.value.code == 5
    assert f"{tmp_path}/LOG" in failure.value.hint and f"{tmp_path}/cache" in failure.value.hint


def test_records_on_a_partition_are_left_to_venus(tmp_path):
    with pytest.raises(cli.UsageError, match="'/dev/null': it is no file"):
        store.Store(f"cachedir={tmp_path}/cache\nrvm_log=/dev/null\n").prepare()


def test_without_room_nothing_is_made(kept, tmp_path, monkeypatch):
    monkeypatch.undo()
    kept.room = 1 << 60
    with pytest.raises(cli.Failure, match="are not free"):
        kept.prepare()
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_aside_is_whole_and_never_overwritten(kept, tmp_path):
    for number in (1, 2):
        kept.prepare()
        (tmp_path / "cache/V").write_text(str(number))
        (tmp_path / "LOG").write_text("log")
        assert kept.put_aside() == number
        assert kept.look() == (store.NEW, "")
    assert (tmp_path / "cache.damaged.1/V").read_text() == "1"
    assert (tmp_path / "LOG.damaged.2").read_text() == "log"
