"""codaboot.cli: the grammar made strict, and exceptions made exit statuses."""

import functools
import signal
import subprocess
import sys

import pytest
from codaboot import cli
from conftest import COMMANDS, TOP, environment, load
from docopt import DocoptExit, docopt, parse_options
from hypothesis import given, settings
from hypothesis import strategies as st

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


GRAMMARS = {name: (load(name).__doc__, "options_first=True" in (TOP / "bin" / name).read_text())
            for name in COMMANDS}


def by_docopt(doc, argv, options_first):
    """docopt's answer; None where it ends with help, version or a usage error."""
    try:
        return docopt(doc, list(argv), default_help=False, options_first=options_first)
    except DocoptExit:
        return None


@functools.cache
def an_argv(doc):
    """Arguments from the options of `doc`, well and badly used, and from words for operands."""
    values = st.sampled_from(["", "5", "a=b", "-1", "--", "x y", "/coda"])
    options = [word for option in parse_options(doc) for word in (option.longer, option.short) if word]
    words = st.one_of(st.sampled_from(options), st.sampled_from(["", "-", "--", "-1", "a", "/b", "--no"]),
                      st.builds("{}={}".format, st.sampled_from(options), values))
    good = [st.just(option.longer) if not option.argcount else values.map(f"{option.longer}={{}}".format)
            for option in parse_options(doc)]
    return st.one_of(st.lists(words, max_size=6), st.builds(
        lambda options, operands: options + operands, st.lists(st.one_of(good), max_size=4),
        st.lists(st.sampled_from(["a", "/b", "--", "-1", "-x", "--verbose", ""]), max_size=4)))


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=50)
@given(data=st.data())
def test_the_plain_form_is_understood_as_docopt_does(name, data):
    doc, options_first = GRAMMARS[name]
    argv = data.draw(an_argv(doc))
    args = cli._plain(doc, argv, options_first)
    assert args is None or args == by_docopt(doc, argv, options_first)


@pytest.mark.parametrize("argv", [
    "coda-netup --ip=dhcp --ip=10.0.0.2::10.0.0.1 --timeout=7 --reuse-lease",
    "coda-fsck-root", "coda-fsck-root --also=LABEL=a:/b", "coda-local-venus /srv/coda",
    "coda-venus-start -- coda-local-venus /srv/coda", "coda-venus-start --timeout=5 -- venus -d",
    "coda-wait-mount --init=/sbin/init /coda/linuxroot", "coda-mount-dev --tmp=8M /coda/linuxroot",
    "coda-handoff --dry-run /coda/linuxroot -- /sbin/init",
    "coda-handoff --rescue=/sbin/init --record=/run/coda/boot --env=A=b /coda/x -- /sbin/init two -- --x"])
def test_what_init_writes_needs_no_docopt(argv):
    name, *words = argv.split()
    doc, options_first = GRAMMARS[name]
    args = cli._plain(doc, words, options_first)
    assert args is not None and args == by_docopt(doc, words, options_first)


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
