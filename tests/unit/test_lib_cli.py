"""codaboot.cli: the grammar made strict, and exceptions made exit statuses."""

import signal
import subprocess
import sys

import pytest
from codaboot import cli
from conftest import environment

DOC = """coda-x - do it

Usage:
  coda-x [options] FILE
  coda-x --version

Options:
  -t, --timeout=SECONDS  How long [default: 5].
  -n, --dry-run          Nothing.
  --version              Version.

Exit status:
  0  done
"""


def test_options_and_operands():
    args = cli.parse(DOC, ["-n", "--timeout=7", "f"])
    assert (args["--dry-run"], args["--timeout"], args["FILE"]) == (True, "7", "f")


@pytest.mark.parametrize("argv, said", [
    (["--dry", "f"], "unknown option '--dry'"), (["--x=1", "f"], "unknown option '--x'"),
    (["-q", "f"], "unknown option '-q'"), ([], "cannot make sense of 'nothing'"),
    (["a", "b"], "cannot make sense of 'a b'"), (["--timeout"], "cannot make sense of '--timeout'")])
def test_what_is_wrong_is_named(argv, said):
    with pytest.raises(cli.UsageError) as caught:
        cli.parse(DOC, argv)
    assert str(caught.value) == said
    assert caught.value.code == 100


def test_after_two_dashes_nothing_is_an_option():
    doc = DOC.replace("FILE\n", "[--] FILE\n")
    assert cli.parse(doc, ["--", "--dry"])["FILE"] == "--dry"


@pytest.mark.parametrize("value, good", [("5", 5.0), ("0.5", 0.5), ("x", None), ("-1", None), ("inf", None),
                                         ("nan", None), ("", None)])
def test_number(value, good):
    args = {"--timeout": value}
    if good is None:
        with pytest.raises(cli.UsageError, match="cannot use --timeout="):
            cli.number(args, "--timeout")
    else:
        assert cli.number(args, "--timeout") == good


def test_choice():
    assert cli.choice({"--mode": "a"}, "--mode", ("a", "b")) == "a"
    with pytest.raises(cli.UsageError, match="not one of a, b"):
        cli.choice({"--mode": "c"}, "--mode", ("a", "b"))


def test_perform_prints_in_a_dry_run_and_acts_otherwise(capsys):
    did = []
    operations = [("first", lambda: did.append(1)), ("second", lambda: did.append(2))]
    cli.perform(operations, {"--dry-run": True, "--verbose": False})
    assert (capsys.readouterr().out, did) == ("first\nsecond\n", [])
    cli.perform(operations, {"--dry-run": False, "--verbose": False})
    assert did == [1, 2]


def ends(body, **settings):
    """A process whose main() has `body`, run by cli.run. In the background, SIGINT would be ignored."""
    settings.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    code = f"import os, signal, sys\nfrom codaboot import cli\ndef main():\n    {body}\ncli.run(main)\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(),
                          **settings)


@pytest.mark.parametrize("body, status, said", [
    ("return 0", 0, ""),
    ("return 7", 7, ""),
    ("raise cli.Failure('cannot do it', 'a hint')", 111, "-c: cannot do it\n-c: (a hint)\n"),
    ("raise cli.UsageError('no')", 100, "-c: no\n"),
    ("raise cli.TimedOut('late')", 99, "-c: late\n"),
    ("raise cli.Failure('odd', code=42)", 42, "-c: odd\n"),
    ("open('/no/such')", 111, "-c: cannot go on: '/no/such': No such file or directory\n"),
    ("os.kill(os.getpid(), signal.SIGINT)", 130, "-c: interrupted\n"),
    ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 143, "-c: ended by SIGTERM\n")])
def test_exceptions_become_exit_statuses(body, status, said):
    done = ends(body)
    assert (done.returncode, done.stderr) == (status, said)


def test_a_bug_stays_a_traceback_with_status_1():
    done = ends("1 / 0")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_children_are_waited_for_though_the_parent_ignored_sigchld():
    body = ("pid = os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 9'], {});"
            " return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])")
    done = ends(body, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 9


def test_closed_streams_are_not_taken_by_the_next_file():
    code = ("from codaboot import cli\nimport os\n"
            "cli.run(lambda: 0 if os.open('/etc/passwd', os.O_RDONLY) > 2 else 5)")
    done = subprocess.run(["bash", "-c", f'exec {sys.executable} -c "$0" <&- >&- 2>&-', code],
                          env=environment())
    assert done.returncode == 0
