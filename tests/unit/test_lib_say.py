"""codaboot.say: whole lines, and progress that does not chatter."""

import os
import shlex

from codaboot import say
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.text(max_size=8)))
def test_words_are_quoted_as_a_shell_wants_them(argv):
    assert say.words(argv) == shlex.join(argv)


def test_a_line_is_one_write(capfd, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/sbin/@coda-x"])
    say.line("cannot 'ä\udcff'")
    assert capfd.readouterr().err == "coda-x: cannot 'ä\\udcff'\n"


def test_progress_is_silent_at_first_then_a_line_with_the_share(capfd, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = say.Progress("copying", 200)
    progress.update(10)
    assert capfd.readouterr().err == ""
    now[0] += 2.5
    progress.update(50)
    assert "copying: 50 of 200 (25%), 8 s left" in capfd.readouterr().err
    now[0] += 1
    progress.update(60)
    assert capfd.readouterr().err == ""
    now[0] += 5
    progress.update(100)
    assert "100 of 200 (50%)" in capfd.readouterr().err


def test_progress_without_a_total_counts(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = say.Progress("waiting")
    now[0] = 3.0
    progress.update(7)
    assert capfd.readouterr().err.endswith("waiting: 7\n")


def test_on_a_terminal_it_is_a_bar_that_goes_away(monkeypatch):
    ours, theirs = os.openpty()
    saved = os.dup(2)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    try:
        os.dup2(theirs, 2)
        progress = say.Progress("x", 10)
        now[0] = 3.0
        progress.update(5)
        progress.end()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    shown = ""
    while shown.count("\r\033[K") < 2:  # a terminal hands on in pieces
        shown += os.read(ours, 4096).decode()
    os.close(ours)
    os.close(theirs)
    assert "[##########          ]" in shown and shown.endswith("\r\033[K")
