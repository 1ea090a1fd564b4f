"""The frame of every command: arguments in, one exit status out.

The exit statuses are a contract with init and with whoever replaces a step;
coda-boot(7) has the table.
"""

import _signal as signal  # signal itself loads enum, which takes as long as Python's own start
import os
import sys

from codaboot import VERSION, say

OK = 0
TIMED_OUT = 99
USAGE = 100
REFUSED = 111
CANNOT_EXEC = 126
NOT_FOUND = 127


class Failure(Exception):
    """An end that was foreseen: one line of what failed, a hint, an exit status."""

    code = REFUSED

    def __init__(self, message, hint=None, code=None):
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(Failure):
    """Wrong arguments or wrong configuration: to try again is useless."""

    code = USAGE


class TimedOut(Failure):
    """The time given with --timeout ran out."""

    code = TIMED_OUT


def parse(doc, argv=None, options_first=False):
    """Arguments by the docopt grammar in `doc`; --help and --version end here.

    Stricter than docopt: a long option must be spelled in full, so that a new
    option never changes the meaning of an old script, and what is wrong is named.
    Raises UsageError.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if (args := _plain(doc, argv, options_first)) is not None:
        return args
    from docopt import DocoptExit, docopt, parse_options

    name = doc.split(None, 1)[0]
    known = {name for option in parse_options(doc) for name in (option.longer, option.short)}
    for word in argv:
        if word == "--" or (options_first and not word.startswith("-")):
            break
        option = word.split("=", 1)[0] if word.startswith("--") else word[:2]
        is_number = word[1:].replace(".", "", 1).isdigit()
        if word.startswith("-") and word != "-" and option not in known and not is_number:
            raise UsageError(f"unknown option '{option}'", f"try '{name} --help'")
    try:
        return docopt(doc, argv, version=f"{name} {VERSION}", options_first=options_first)
    except DocoptExit as error:
        usage = " ".join(error.usage.split("\n  ")[1:2]).strip() or name
        given = " ".join(argv) or "nothing"
        raise UsageError(f"cannot make sense of '{given}'", f"usage: {usage}") from None


def _plain(doc, argv, options_first):
    """docopt's answer to an `argv` of the plain form that init writes; None: ask docopt.

    docopt is the authority, and its import takes longer than all else a step does. Plain are
    long options, each with its value after '=', and the operands of the first usage.
    """
    usage, _, rest = doc.partition("\nUsage:\n")[2].partition("\n")
    words, args, operands, once = usage.split()[2:], {}, [], {"--help", "--version"}
    for row in rest.partition("\nOptions:\n  -")[2].partition("\n\n")[0].split("\n  -"):
        names, _, text = row.partition("  ")
        name, takes_value, _ = ("--" + names.split()[-1].lstrip("-")).partition("=")
        args[name] = (text.partition("[default: ")[2].partition("]")[0] or None) if takes_value else False
    for word in words:
        name = word.strip("[.]").partition("=")[0]
        args[name] = [] if "..." in word else False if name == "--" else None
    for number, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if word == "--" or options_first and not word.startswith("-"):
            operands += argv[number:]
            break
        if not word.startswith("-"):
            operands.append(word)
        elif name in once or name not in args or bool(equals) == (args[name] is False):
            return None
        elif isinstance(args[name], list):
            args[name].append(value)
        else:
            args[name] = value if equals else True
            once.add(name)
    for name, word in [(word.strip("[.]"), word) for word in words if "=" not in word]:
        if name == "--":
            args[name] = operands[:1] == ["--"]
            del operands[:args[name]]
        elif "..." in word:
            args[name], operands = operands, []
        elif operands:
            args[name] = operands.pop(0)
        elif not word.startswith("["):
            return None
    return None if operands else args


def number(args, option, unit="seconds", least=0.0, whole=False):
    """The value of `option` as a number of `unit`, not below `least`. Raises UsageError."""
    try:
        value = int(args[option]) if whole else float(args[option])
    except ValueError:
        value = None
    if value is None or not least <= value < float("inf"):
        raise UsageError(f"cannot use {option}='{args[option]}': not a number of {unit}")
    return value


def choice(args, option, words):
    """The value of `option`, which must be one of `words`. Raises UsageError."""
    if args[option] not in words:
        raise UsageError(f"cannot use {option}='{args[option]}': not one of {', '.join(words)}")
    return args[option]


def perform(operations, args):
    """Do each (text, function) in turn; with --dry-run print the texts instead.

    A text is the operation as a command line that can be pasted where one exists.
    """
    for text, act in operations:
        if args["--dry-run"]:
            print(text)
            continue
        if args["--verbose"]:
            say.line(text)
        act()


def run(main):
    """Call `main` and exit: the only place where an exception becomes a status."""
    # An init may have ignored SIGCHLD, and the setting is inherited: waitpid(2)
    # then forgets exit statuses and every child would seem to have succeeded.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _terminated)
    _open_standard_streams()
    try:
        status = main()
        sys.stdout.flush()
    except Failure as failure:
        say.line(failure)
        if failure.hint:
            say.line(f"({failure.hint})")
        status = failure.code
    except OSError as error:
        about = f"'{error.filename}': " if error.filename else ""
        say.line(f"cannot go on: {about}{error.strerror or error}")
        status = REFUSED
    except KeyboardInterrupt:
        say.line("interrupted")
        status = 128 + signal.SIGINT
    sys.exit(status)


def _terminated(signum, frame):
    say.line("ended by SIGTERM")
    sys.exit(128 + signum)


def _open_standard_streams():
    """Point closed standard descriptors at /dev/null (or, without it, at /).

    Else the first file a command opens becomes its standard error.
    """
    for wanted in (0, 1, 2):
        try:
            os.fstat(wanted)
        except OSError:
            try:
                opened = os.open("/dev/null", os.O_RDWR)
            except OSError:
                opened = os.open("/", os.O_RDONLY)
            if opened != wanted:
                os.dup2(opened, wanted)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)
