"""coda-bind-client: by which name a client is known, and which of its files differ."""

import os

import pytest
from codaroot import layers
from hypothesis import given
from hypothesis import strategies as st

MAC = "52:54:00:12:34:56"
LINKS = [(False, "02:00:00:00:00:99"), (True, MAC), (False, "00:00:00:00:00:00"), (True, "52:54:00:AB:cd:ef")]


# --- deciding -----------------------------------------------------------

def test_cards_come_before_other_links_and_the_host_name_last(module):
    assert module.names(None, LINKS, "Desk7.example.org") == [
        "52-54-00-12-34-56", "52-54-00-ab-cd-ef", "02-00-00-00-00-99", "desk7.example.org"]
    assert module.names("desk7", LINKS, "other") == ["desk7"]
    assert module.names(None, [(True, MAC), (True, MAC), (True, "")], "(none)") == ["52-54-00-12-34-56"]


@pytest.mark.parametrize("name", ["", "..", ".x", "-x", "a/b", "a b", "A", "a\n", "é", "default", "a" * 256])
def test_other_names_are_refused(module, name):
    with pytest.raises(module.cli.UsageError, match="--name="):
        module.names(name, [], "")
    assert name.lower() == "a" or module.names(None, [], name) == []


@given(st.text())
def test_no_name_leads_out_of_the_directory(name):
    from conftest import load
    if load("coda-bind-client").is_name(name):
        assert os.path.normpath(f"/c/{name}") == f"/c/{name}" and name.isascii()


# --- processes ------------------------------------------------------------

@pytest.fixture
def place(tmp_path):
    """A root with clients, and a machine of one card, named desk7."""
    for path in ("root/etc", "root.clients", "sys/class/net/eth0/device", "sys/class/net/lo",
                 "proc/sys/kernel"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0/address").write_text(MAC + "\n")
    (tmp_path / "sys/class/net/lo/address").write_text("00:00:00:00:00:00\n")
    (tmp_path / "sys/class/net/bonding_masters").touch()
    (tmp_path / "proc/sys/kernel/hostname").write_text("desk7\n")
    (tmp_path / "root/etc/motd").touch()
    return tmp_path


def client(place, name, *files):
    (place / "root.clients" / name).mkdir()
    for file in files:
        (place / "root.clients" / name / file).parent.mkdir(parents=True, exist_ok=True)
        (place / "root.clients" / name / file).touch()


@pytest.fixture
def ask(run_command, place):
    def run(*args):
        return run_command("coda-bind-client", f"--root={place}", *args, place / "root")
    return run


@pytest.mark.parametrize("there, args, found", [
    ([], [], []), (["default"], [], ["default"]), (["desk7"], [], ["desk7"]),
    (["desk7", "default"], [], ["desk7", "default"]),
    (["desk7", "52-54-00-12-34-56", "default"], [], ["52-54-00-12-34-56", "default"]),
    (["desk7", "52-54-00-12-34-56", "other"], ["--name=other"], ["other"]),
    (["desk7", "default"], ["--name=other"], ["default"])])
def test_the_first_name_that_has_a_directory_and_the_default(place, ask, there, args, found):
    for name in there:
        client(place, name)
    done = ask(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{place}/root.clients/{name}" for name in found]


def test_a_client_nobody_knows_may_be_refused(place, ask):
    client(place, "default")
    done = ask("--missing=refuse")
    assert (done.returncode, done.stdout) == (3, "")
    assert "looked for 52-54-00-12-34-56, desk7" in done.stderr
    assert ask("--missing=perhaps").returncode == 100
    assert ask("--dry-run").stdout == "52-54-00-12-34-56\ndesk7\ndefault\n"


def test_a_link_is_another_name_and_leads_nowhere_else(place, ask):
    client(place, "desk7")
    alias = place / "root.clients/52-54-00-12-34-56"
    alias.symlink_to("desk7")
    done = ask("--verbose")
    assert done.stdout == f"{place}/root.clients/desk7\n" and "this client is 'desk7'" in done.stderr
    for target in ("/etc", "../root", "desk7/..", "nowhere", "52-54-00-12-34-56"):
        alias.unlink()
        alias.symlink_to(target)
        done = ask()
        assert (done.returncode, done.stdout) == (100, "") and f"'{target}'" in done.stderr
    (place / "root.clients/default").symlink_to("/etc")
    alias.unlink()
    assert ask().stdout == f"{place}/root.clients/desk7\n"


def test_list_says_what_differs_and_from_where(place, ask):
    client(place, "desk7", "etc/motd", "srv/new\nline")
    client(place, "default", "etc/motd", "etc/other", "srv")
    (place / "root.clients/desk7/etc/link").symlink_to("/etc")
    done = ask("--list")
    assert done.stdout.splitlines() == [
        "desk7 adds /etc/link", "desk7 replaces /etc/motd", "default adds /etc/other", "desk7 adds /srv",
        "desk7 adds /srv/new\\012line"]


def test_a_root_that_is_not_there_is_no_client_s_fault(run_command, place):
    done = run_command("coda-bind-client", f"--root={place}", place / "nowhere")
    assert (done.returncode, done.stdout) == (111, "") and "nowhere" in done.stderr


def test_what_an_upper_layer_has_instead_of_a_directory_hides_what_is_below(place):
    client(place, "a", "etc")
    client(place, "b", "etc/x/y", "usr")
    walks = [layers.walk(place / "root.clients" / name) for name in "ab"]
    assert {path: number for path, (number, _) in layers.merged(walks).items()} == {"etc": 0, "usr": 1}
