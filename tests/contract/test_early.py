"""The world of a first program: what an init, or nobody, has left it."""

import subprocess
import sys

import pytest
from codaboot import VERSION
from conftest import COMMANDS, TOP, environment

# No PATH, no HOME, no TERM; a locale of bytes, which Python may not talk itself out of.
BARE = {"PYTHONPATH": environment()["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def early(name, *args, setup="", **settings):
    """bin/`name` started by a shell that has ignored SIGCHLD and closed standard input."""
    start = f'{setup} trap "" CHLD; exec "$0" "$@" <&-'
    settings.setdefault("env", BARE)
    return subprocess.run(["/bin/bash", "-c", start, sys.executable, str(TOP / "bin" / name), *args],
                          capture_output=True, text=True, timeout=60, **settings)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("path", [None, ""], ids=["no PATH", "empty PATH"])
def test_help_without_an_environment(name, path):
    done = early(name, "--help", env=BARE if path is None else {**BARE, "PATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name} - ")
    assert done.stdout.isascii()  # a console that is not set up yet has no other characters to show


@pytest.mark.parametrize("name", COMMANDS)
def test_a_working_directory_that_is_gone(name, tmp_path):
    done = early(name, "--version", setup=f'cd "{tmp_path}"; rmdir "{tmp_path}";')
    assert (done.returncode, done.stdout) == (0, f"{name} {VERSION}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_word_that_is_no_text_is_refused_in_one_piece(name):
    """A byte of no character in the arguments must not end in a traceback."""
    done = early(name, "--no-such-\udcff")
    assert (done.returncode, done.stdout) == (100, "")
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2
