"""coda-keep-token: whose word is believed, which file is secret, when a token is renewed.

What clog and ctokens say here is what those of Coda 8.1.7 said on a client of a real realm.
"""

import os
import time

import pytest
from codaboot import cli
from codaboot.facts import Mount
from conftest import environment, need_root
from keeper import Place
from keeptoken import keep, secret
from realvenus import token

HELD = """\
Tokens held by the Cache Manager for root:
    @coda.test
\tCoda user id:\t 500
\tExpiration time: Wed Nov 25 12:07:18 2026
"""
EXPIRED = HELD.replace("Expiration time: Wed Nov 25 12:07:18 2026", "This token has expired.")
NONE = "Tokens held by the Cache Manager for root:\n    @coda.test\n\tNot Authenticated\n"
DEAD = "Tokens held by the Cache Manager for root:\n    @coda.test\n\tGetLocalTokens error (9)\n"
NOW = time.mktime((2026, 11, 24, 11, 7, 18, 0, 0, -1))


@pytest.mark.parametrize("status, out, err, answer", [
    (0, "", "", "ok"),
    (0, "Local login only, could not contact venus\n", "Failed to open unique pioctl file\n", "no venus"),
    (0, "Local login only, could not contact venus\n", "pioctl response too large\n", "no venus"),
    (1, "", "Invalid login (RPC2_NOTAUTHENTICATED (F)).\n", "refused"),
    (1, "", "Invalid login (RPC2_NOBINDING (F)).\n", "silence"),
    (1, "", "Unable to resolve addresses for Coda auth2 servers in realm 'nosuch.realm'\n"
            "Invalid login (RPC2_FAIL (F)).\n", "no server"),
])
def test_what_clog_means(status, out, err, answer):
    assert token.said_by_clog(status, out, err) == answer


def test_what_ctokens_means():
    assert token.end_of_token(0, HELD) == NOW + 25 * 3600
    assert token.end_of_token(1, NONE) is None
    assert token.end_of_token(1, EXPIRED) == 0
    with pytest.raises(cli.Failure) as caught:
        token.end_of_token(1, DEAD)
    assert caught.value.code == token.NO_VENUS


def test_a_token_is_renewed_at_half_of_its_life():
    end = NOW + 25 * 3600
    assert not keep.renew_now(end, NOW)
    assert not keep.renew_now(end, NOW + 12 * 3600)
    assert keep.renew_now(end, NOW + 13 * 3600)
    assert keep.renew_now(None, NOW)
    assert not keep.renew_now(end, 0)  # the clock starts in 1970: the hour-long look is all there is


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand-ins for clog and ctokens that note how they were called: tools(clog=SCRIPT, ctokens=SCRIPT)."""
    def make(**scripts):
        for name, script in scripts.items():
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\n{script}\n')
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
        return tmp_path / "calls"
    return make


def deadline():
    from codaboot.wait import Deadline
    return Deadline(20)


def test_the_password_goes_through_standard_input_alone(tools, tmp_path):
    calls = tools(clog=f"env >{tmp_path}/env; cat >{tmp_path}/in", ctokens=f"printf '%s' '{HELD}'")
    assert token.login("root@coda.test", "geheim", os.getuid(), deadline()) == NOW + 25 * 3600
    assert calls.read_text() == "clog -pipe root@coda.test\nctokens @coda.test\n"
    assert (tmp_path / "in").read_text() == "geheim\n"
    assert "geheim" not in (tmp_path / "env").read_text()


def login_fails(code):
    with pytest.raises(cli.Failure) as caught:
        token.login("root@coda.test", "geheim", os.getuid(), deadline())
    assert caught.value.code == code
    return str(caught.value)


def test_a_silent_server_that_refuses_nobody_is_one_that_does_not_like_the_password(tools):
    tools(ctokens="exit 1", clog=f"""case $2 in
        {token.NOBODY}@*) echo 'Invalid login (RPC2_NOTAUTHENTICATED (F)).' >&2 ;;
        *) echo 'Invalid login (RPC2_NOBINDING (F)).' >&2 ;;
        esac; exit 1""")
    assert "password" in login_fails(token.WRONG)


def test_a_server_that_is_silent_to_everybody_is_not_there(tools):
    tools(ctokens="exit 1", clog="echo 'Invalid login (RPC2_NOBINDING (F)).' >&2; exit 1")
    login_fails(token.UNREACHABLE)


def test_clog_is_not_believed_without_ctokens(tools):
    tools(clog="", ctokens=f"printf '%s' '{NONE}'; exit 1")
    login_fails(token.NO_VENUS)


# --- the secret -----------------------------------------------------------------------------------

def mounted(target, fstype, **options):
    words = frozenset(f"{key}={value}" for key, value in options.items())
    return Mount("0:1", "/", target, frozenset(), fstype, fstype, words)


def test_a_secret_in_coda_is_known_by_its_mount():
    table = [mounted("/", "ext4"), mounted("/coda", "coda"),
             mounted("/new", "overlay", lowerdir="/run/a:/coda/coda.test/linuxroot", upperdir="/run/u"),
             mounted("/local", "overlay", lowerdir="/usr")]

    def is_in_coda(path):
        return secret.is_in_coda(secret.mount_of(table, path), table)

    assert is_in_coda("/coda/x") and is_in_coda("/new/etc/secret")
    assert not is_in_coda("/codas") and not is_in_coda("/etc/secret") and not is_in_coda("/local/etc/secret")


def test_of_two_mounts_on_one_place_the_upper_counts():
    table = [mounted("/", "ext4"), mounted("/", "coda")]
    assert secret.mount_of(table, "/etc/secret").fstype == "coda"


def test_after_the_handoff_the_new_root_covers_nothing_of_ours(tmp_path):
    need_root()
    (tmp_path / "secret").write_text("word\n")
    (tmp_path / "secret").chmod(0o600)
    number = (tmp_path / "secret").stat().st_dev
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        f"1 1 {os.major(number)}:{os.minor(number)} / / rw - ext4 /dev/vda rw\n"
        "2 1 0:77 / / rw - coda coda rw\n")
    assert secret.read(str(tmp_path / "secret"), str(tmp_path)) == "word"


def refused(path):
    with pytest.raises(cli.Failure) as caught:
        secret.read(str(path))
    assert caught.value.code == secret.NO_SECRET
    return str(caught.value)


@pytest.fixture
def password(tmp_path):
    need_root()
    path = tmp_path / "secret"
    path.write_text("geheim\n")
    path.chmod(0o600)
    return path


def test_a_secret_is_one_line_in_a_file_of_root(password, tmp_path):
    assert secret.read(str(password)) == "geheim"
    (tmp_path / "link").symlink_to(password)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "link" in refused(tmp_path / "link")
    assert "no file" in refused(tmp_path / "fifo")
    assert "No such file" in refused(tmp_path / "none")
    for text in ("", "\n", "two\nlines\n"):
        password.write_text(text)
        assert "one line" in refused(password)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o700 | 0o010])
def test_a_secret_others_may_touch_is_none(password, mode):
    password.chmod(mode)
    assert "others" in refused(password)


def test_a_secret_of_another_user_is_none(password):
    os.chown(password, 1000, 0)
    assert "others" in refused(password)


# --- the command ----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["root", "@coda.test", "root@", "a b@coda.test", "a@b/c"])
def test_a_name_is_user_at_realm(run_command, name):
    done = run_command("coda-keep-token", "--dry-run", name, "/nonexistent")
    assert done.returncode == 100 and "USER@REALM" in done.stderr


def test_a_dry_run_shows_two_commands_and_reads_no_secret(run_command):
    done = run_command("coda-keep-token", "--dry-run", "--uid=33", "www@coda.test", "/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("clog -pipe www@coda.test </nonexistent  # as uid 33\n"
                           "ctokens @coda.test  # as uid 33\n")


def test_without_clog_nothing_is_done(run_command, password, tmp_path):
    done = run_command("coda-keep-token", "root@coda.test", password, f"--pid-file={tmp_path}/pid",
                       env=environment())
    assert done.returncode == 127


def test_a_keeper_stays_renews_after_a_new_venus_and_is_found_again(run_command, tools, password, tmp_path):
    import socket

    def venus():
        (tmp_path / "mariner").unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "mariner"))
        listening.listen()
        return listening

    held = HELD.replace("Wed Nov 25 12:07:18 2026", time.ctime(time.time() + 25 * 3600))
    calls = tools(clog=f"cat >/dev/null; rm -f {tmp_path}/expired; touch {tmp_path}/token",
                  ctokens=f"[ ! -e {tmp_path}/expired ] || {{ printf '%s' '{EXPIRED}'; exit 1; }}\n"
                          f"[ ! -e {tmp_path}/token ] || {{ printf '%s' '{held}'; exit 0; }}\n"
                          f"printf '%s' '{NONE}'; exit 1")
    options = [f"--{name}={tmp_path}/{name}" for name in ("mariner", "pid-file", "log")]
    settings = {"env": environment(PATH=os.environ["PATH"])}
    first = venus()
    try:
        done = run_command("coda-keep-token", *options, "root@coda.test", password, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        held, _ = first.accept()
        again = run_command("coda-keep-token", "-v", *options, "root@coda.test", password, **settings)
        assert (again.returncode, again.stderr) == (0, "coda-keep-token: the token is kept already\n")
        assert calls.read_text().count("clog") == 1
        # One that has run out is not kept.
        (tmp_path / "expired").touch()
        again = run_command("coda-keep-token", "-v", *options, "root@coda.test", password, **settings)
        assert (again.returncode, again.stderr) == (0, "")
        assert calls.read_text().count("clog") == 2
        held.close()
        held, _ = first.accept()
        held.close()
        first.close()
        (tmp_path / "token").unlink()
        second = venus()
        second.settimeout(20)
        held, _ = second.accept()
        limit = time.monotonic() + 20
        while not (tmp_path / "token").exists():
            assert time.monotonic() < limit, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert "venus ended" in (tmp_path / "log").read_text()
        assert calls.read_text().count("clog") == 3
    finally:
        from keeper import end
        end(Place(tmp_path / "pid-file"))
