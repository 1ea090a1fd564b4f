"""coda-open-consoles: which consoles, what if they are not there, and that what ends comes again."""

import os
import pty
import select
import time

import pytest
from conftest import environment
from keeper import Place, end


@pytest.fixture
def terminals(tmp_path):
    """Two terminals in place of consoles: {name: the other end}, and the options for them."""
    ends, options = {}, [f"--pid-file={tmp_path}/pid", f"--log={tmp_path}/log"]
    for name in ("shell", "codacon"):
        ends[name], terminal = pty.openpty()
        options.append(f"--{name}={os.ttyname(terminal)}")
    yield ends, options
    if (tmp_path / "pid").exists():
        end(Place(tmp_path / "pid"))


def read(descriptor, wanted, seconds=20):
    """What comes from a terminal until `wanted` is in it."""
    text, limit = "", time.monotonic() + seconds
    while wanted not in text:
        assert select.select([descriptor], [], [], limit - time.monotonic())[0], text
        text += os.read(descriptor, 4096).decode()
    return text


@pytest.fixture
def codacon(tmp_path):
    """A PATH with a codacon that says what it is and ends."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "codacon").write_text("#!/bin/sh\necho 'fetching (sh) 100%'\nexit 0\n")
    (folder / "codacon").chmod(0o755)
    return environment(PATH=f"{folder}:/usr/bin:/bin")


def test_a_shell_answers_and_comes_again(run_command, terminals, codacon, tmp_path):
    ends, options = terminals
    done = run_command("coda-open-consoles", *options, env=codacon)
    assert (done.returncode, done.stderr) == (0, "")
    read(ends["codacon"], "fetching (sh) 100%")
    os.write(ends["shell"], b"echo pid=$(($$+0)) tty=$(tty)\n")
    first = read(ends["shell"], f"tty={options[2].partition('=')[2]}")
    os.write(ends["shell"], b"exit\n")
    time.sleep(0.1)
    os.write(ends["shell"], b"echo again=$((40+2))\n")
    assert "pid=" in first and read(ends["shell"], "again=42")
    read(ends["codacon"], "fetching (sh) 100%")  # it ended at once, and was started anew
    again = run_command("coda-open-consoles", "-v", *options, env=codacon)
    assert (again.returncode, again.stderr) == (0, "coda-open-consoles: the consoles are open already\n")


@pytest.mark.parametrize("terminal", ["/nonexistent", "/dev/null", "/etc/passwd"])
def test_a_console_that_is_not_there_is_named_and_stops_nobody(run_command, tmp_path, terminal):
    done = run_command("coda-open-consoles", f"--shell={terminal}", "--codacon=none",
                       f"--pid-file={tmp_path}/pid", f"--log={tmp_path}/log")
    assert done.returncode == 0 and f"no console on '{terminal}'" in done.stderr
    assert not (tmp_path / "pid").exists()


def test_without_codacon_there_is_still_a_shell(run_command, terminals):
    ends, options = terminals
    done = run_command("coda-open-consoles", *options, env=environment(PATH="/usr/bin:/bin"))
    assert done.returncode == 0 and "cannot find 'codacon'" in done.stderr
    os.write(ends["shell"], b"echo $((40+2))\n")
    read(ends["shell"], "42")


def test_a_dry_run_shows_what_would_run(run_command):
    done = run_command("coda-open-consoles", "--dry-run", "--shell=/dev/ttyS1")
    assert done.stdout == ("setsid -c sh -i </dev/ttyS1 >/dev/ttyS1 2>&1\n"
                           "setsid -c codacon </dev/tty8 >/dev/tty8 2>&1\n")


def test_a_terminal_is_a_path(run_command):
    assert run_command("coda-open-consoles", "--shell=tty9").returncode == 100
