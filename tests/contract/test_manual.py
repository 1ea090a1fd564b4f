"""The manual says what the program says: name, synopsis, options, defaults, exit statuses."""

import re
import shlex
import shutil
import subprocess

import pytest
from conftest import COMMANDS, TOP, load, need, need_programs
from docopt import docopt, parse_options

PAGES = sorted(path for path in (TOP / "man").iterdir() if re.search(r"\.\d$", path.name))
ORDER = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "NOTES", "EXAMPLES",
         "SEE ALSO"]


def doc(name):
    return load(name).__doc__


def page(name):
    return (TOP / f"man/{name}.8").read_text()


def plain(roff):
    """Roff source without its fonts, macros and escapes."""
    text = re.sub(r"\\f[BIRP]|\\&|\\c", "", roff)
    text = re.sub(r'^\.(?:BR|BI|RB|RI|IR|IB) (.*)$', lambda m: "".join(shlex.split(m[1])), text, flags=re.M)
    text = re.sub(r"^\.[BI] (.*)$", lambda m: " ".join(shlex.split(m[1])), text, flags=re.M)
    for escape, char in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\e", "\\")):
        text = text.replace(escape, char)
    return text


def section(name, title):
    match = re.search(rf'^\.SH "?{title}"?\n(.*?)(?=^\.SH|\Z)', page(name), flags=re.M | re.S)
    return match[1] if match else ""


def tagged(roff):
    """The tag lines (after .TP) of a section, plain."""
    return re.findall(r"^\.TP[^\n]*\n([^\n]*)", plain(roff), flags=re.M)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_groff_is_content(path):
    need_programs("groff")
    done = subprocess.run(["groff", "-man", "-ww", "-z", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_sections_are_in_order(name):
    titles = [title.strip('"') for title in re.findall(r"^\.SH (.*)$", page(name), flags=re.M)]
    assert titles == [title for title in ORDER if title in titles]
    assert set(ORDER) - {"FILES", "NOTES"} <= set(titles)


@pytest.mark.parametrize("name", COMMANDS)
def test_name_is_the_first_line_of_the_help(name):
    assert plain(section(name, "NAME")).strip() == doc(name).splitlines()[0]


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_synopsis_is_the_usage(name):
    usage = re.search(r"^Usage:\n(.*?)\n\n", doc(name), flags=re.M | re.S)[1]
    synopsis = re.sub(r"^\.(nf|fi|br|PP|SY.*|YS)$", "", plain(section(name, "SYNOPSIS")), flags=re.M)
    assert words(synopsis) == words(usage)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_those_of_the_grammar(name):
    shown = set()
    for tag in tagged(section(name, "OPTIONS")):
        shown.update(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", tag))
    known = {word for option in parse_options(doc(name)) for word in (option.short, option.longer) if word}
    assert shown == known


@pytest.mark.parametrize("name", COMMANDS)
def test_each_default_is_in_the_text(name):
    text = words(plain(section(name, "OPTIONS")))
    for option in parse_options(doc(name)):
        if option.value not in (None, False, []):
            value = " ".join(option.value) if isinstance(option.value, list) else option.value
            assert value in text, f"{option.longer} [default: {value}]"


@pytest.mark.parametrize("name", COMMANDS)
def test_exit_statuses_are_those_of_the_help(name):
    rows = re.search(r"^Exit status:\n(.*?)\n\n", doc(name), flags=re.M | re.S)[1]
    helped = re.findall(r"^  (\d+(?:\+n)?)  ", rows, flags=re.M)
    tags = [word for tag in tagged(section(name, "EXIT STATUS")) for word in re.findall(r"\d+(?:\+n)?", tag)]
    assert tags == helped


@pytest.mark.parametrize("name", COMMANDS)
def test_needed_programs_are_named(name):
    for need_ in load(name).NEEDS:
        kind, _, what = need_.partition(":")
        if kind == "prog":
            assert what in plain(page(name)), what


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_references_lead_somewhere(path):
    for name, number in re.findall(r"(coda-[a-z.-]+?)\s*\((\d)\)", plain(path.read_text())):
        assert (TOP / f"man/{name}.{number}").exists(), f"{name}({number})"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_fit_the_grammar(name):
    lines = plain(section(name, "EXAMPLES")).replace("\\\n", " ").splitlines()
    ours = [line.strip() for line in lines if line.strip().startswith(("coda-", "# coda-", "$ coda-"))]
    assert any(line.lstrip("#$ ").split()[0] == name for line in ours), "no example of the command itself"
    for line in ours:
        argv = shlex.split(line.lstrip("#$ ").split(" >")[0].split(" |")[0].split(" &")[0], comments=True)
        first = "options_first=True" in (TOP / "bin" / argv[0]).read_text()
        docopt(doc(argv[0]), argv[1:], default_help=False, options_first=first)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lexgrog_finds_the_name(path):
    need(shutil.which("lexgrog"), "lexgrog (man-db)")
    done = subprocess.run(["lexgrog", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
