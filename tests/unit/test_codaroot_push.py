"""lib/codaroot/push.py, and the settling of making.py: changes are sent, owners looked at after it."""

import os

import pytest
from codaboot import cli
from codaboot.wait import Deadline
from codaroot import making, push
from codaroot.fill import Filling
from codaroot.manifest import Entry
from conftest import need_root

# What CMU's cfs 8.1 prints.
STATUS = """  Status of volume 7f000001 (2130706433) named "linuxroot"
  Volume type is ReadWrite
  Connection State is {}
  Reintegration age: 0 sec, time 15.000 sec
"""
RECORDS = "  There are {} CML entries pending for reintegration (123 bytes)\n"


def test_records_are_counted():
    reachable = STATUS.format("Reachable")
    assert push.pending(reachable) == 0
    assert push.pending(reachable + RECORDS.format(16094)) == 16094
    assert push.pending(reachable + RECORDS.format(0)) == 0


@pytest.mark.parametrize("text, said", [
    ("", "the changes: /coda/t: Resource temporarily unavailable"),
    (STATUS.format("Unreachable") + RECORDS.format(3), "cannot be reached"),
    (STATUS.format("Reachable") + "  *** There are pending conflicts in this volume ***\n", "conflicts"),
])
def test_what_can_never_end_is_not_waited_for(text, said):
    with pytest.raises(cli.Failure, match=said):
        push.pending(text, "Failed to open pioctl file\n/coda/t: Resource temporarily unavailable\n")


@pytest.fixture
def cfs(tmp_path, monkeypatch):
    """A cfs that sends 60 of 100 records at each forcereintegrate, and ends with 0 always."""
    monkeypatch.setattr(push, "AGAIN", 0.3)
    script = tmp_path / "cfs"
    script.write_text(f"""#!/bin/sh
echo "$*" >>{tmp_path}/calls
left=$(cat {tmp_path}/left)
case $1 in
forcereintegrate) left=$((left > 60 ? left - 60 : 0)); echo $left >{tmp_path}/left ;;
listvol) echo "  Status of volume 7f000001"
    echo "  There are $left CML entries pending for reintegration (1 bytes)" ;;
esac
""")
    script.chmod(0o755)
    (tmp_path / "left").write_text("100")
    return script


def test_it_is_sent_until_nothing_is_left(cfs, tmp_path):
    push.push(str(cfs), "/coda/t", Deadline(10))
    assert (tmp_path / "calls").read_text().split("\n") == [
        "forcereintegrate /coda/t", "listvol /coda/t", "forcereintegrate /coda/t", "listvol /coda/t", ""]


def test_what_remains_at_the_end_of_the_time_is_told(cfs, tmp_path):
    (tmp_path / "left").write_text("1000000")
    with pytest.raises(cli.TimedOut, match=r"to '/coda/t': \d+ records remain"):
        push.push(str(cfs), "/coda/t", Deadline(1))


@pytest.fixture
def token(cfs, tmp_path, monkeypatch):
    """A cfs that knows the realm and sends nothing, and a ctokens that says what `token` is called with."""
    def make(said):
        cfs.write_text(cfs.read_text().replace("forcereintegrate)", """getfid)
    echo "FID = 7f000001.1.1@coda.test  VV = [ 9 0 0 0 0 0 0 0 ] [ 6eebfe54.c4 ] [ 0x8 ]" ;;
nothing)"""))
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/ctokens").write_text(f"#!/bin/sh\necho '{said}'; [ $1 = @coda.test ]\n")
        (tmp_path / "bin/ctokens").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
        return str(cfs)
    return make


def test_without_a_token_nothing_is_begun_and_no_end_is_waited_for(token, tmp_path):
    cfs = token("Not Authenticated")
    with pytest.raises(cli.Failure, match=f"in '{tmp_path}': venus has no token for 'coda.test'"):
        push.need_token(cfs, str(tmp_path / "new/root"))
    with pytest.raises(cli.Failure, match="no token"):
        push.push(cfs, str(tmp_path), Deadline(60))
    assert (tmp_path / "calls").read_text().count("forcereintegrate") == 2


@pytest.mark.parametrize("said", ["Expiration time: Wed Nov 25 12:07:18 2026", "This token has expired."])
def test_with_a_token_it_is_begun_whatever_our_clock_says(token, tmp_path, said):
    push.need_token(token(said), str(tmp_path))


@pytest.fixture
def filling(tmp_path, monkeypatch):
    """A filled directory of one file, in what passes for Coda, whose files belong to the token's user."""
    need_root()
    monkeypatch.setattr(making, "is_coda", lambda path: True)
    top = tmp_path / "top"
    top.mkdir()
    (top / "f").touch()
    os.chown(top / "f", 500, 500)
    wanted = [Entry("", "dir", 0o755, 0, 0), Entry("f", "file", 0o644, 0, 0)]
    filling = Filling(str(top), None, wanted, {}, {})
    filling.open()
    return filling


def test_owners_are_put_right_after_the_changes_were_sent(cfs, filling, tmp_path):
    making.settler(str(cfs), Deadline(10))(filling, [])
    assert os.stat(tmp_path / "top/f").st_uid == 0
    calls = (tmp_path / "calls").read_text().split("\n")[:-1]
    # Each look at the owners is at what the server has.
    assert [call.split()[0] for call in calls] == 2 * ["forcereintegrate", "listvol"] + [
        "flushvolume", "forcereintegrate", "listvol", "flushvolume"]


def test_an_owner_that_stays_is_a_failure(cfs, filling, monkeypatch):
    monkeypatch.setattr(Filling, "take", lambda *_: None)
    with pytest.raises(cli.Failure, match="cannot make root the owner of 1 objects, such as 'f'"):
        making.settler(str(cfs), Deadline(10))(filling, [])


def test_without_cfs_it_is_said(filling, monkeypatch, capfd):
    monkeypatch.setattr(making.run, "PATH", "/nowhere")
    making.settler("cfs", Deadline(10))(filling, [f"{filling.top}/f"])
    assert "there is no cfs" in capfd.readouterr().err
    with pytest.raises(cli.Failure, match="cannot find '/nowhere/cfs'"):
        making.settler("/nowhere/cfs", Deadline(10))
