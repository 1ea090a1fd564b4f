"""One rule for the whole tree: everything has its page and its test, and nothing is an orphan."""

import ast
import os
import re

import pytest
from conftest import COMMANDS, TOP

PAGES = sorted(path.name for path in (TOP / "man").iterdir() if re.search(r"\.\d$", path.name))
LIBRARY = sorted((TOP / "lib/codaboot").glob("*.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_page_test_run_bit_and_is_named(name):
    assert (TOP / f"man/{name}.8").exists()
    assert (TOP / f"tests/unit/test_{name.replace('-', '_')}.py").exists()
    assert os.access(TOP / "bin" / name, os.X_OK)
    assert name in (TOP / "README.md").read_text()
    assert name in (TOP / "man/coda-boot.7").read_text().replace("\\-", "-")


def test_no_page_and_no_test_without_its_command():
    assert {page[:-2] for page in PAGES if page.endswith(".8")} == set(COMMANDS)
    tests = {path.stem.removeprefix("test_").replace("_", "-")
             for path in (TOP / "tests/unit").glob("test_coda_*.py")}
    assert tests == set(COMMANDS)


def test_bin_holds_commands_and_nothing_else():
    assert sorted(path.name for path in (TOP / "bin").iterdir()) == COMMANDS


def test_top_level_is_what_was_agreed():
    allowed = {"bin", "lib", "etc", "man", "tests", "Makefile", "setup.py", "README.md", "HACKING.md", "NEWS",
               "LICENSE", ".ci", ".git", ".gitignore", "build", ".pytest_cache", ".ruff_cache", ".hypothesis"}
    assert {path.name for path in TOP.iterdir()} <= allowed


def test_shared_library_stays_small():
    assert len(LIBRARY) <= 7
    assert sum(len(path.read_text().splitlines()) for path in LIBRARY) <= 520


def test_every_library_module_has_a_test():
    for path in LIBRARY:
        if path.stem != "__init__":
            assert (TOP / f"tests/unit/test_lib_{path.stem}.py").exists(), path


def calls(tree, owner, name):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and node.func.attr == name
            and getattr(node.func.value, "id", "") == owner]


def test_only_the_frame_exits():
    for path in (TOP / "lib").rglob("*.py"):
        if path != TOP / "lib/codaboot/cli.py":
            assert not calls(ast.parse(path.read_text()), "sys", "exit"), path


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_heavy_is_imported_at_the_top(name):
    for node in ast.parse((TOP / "bin" / name).read_text()).body:
        names = [alias.name for alias in getattr(node, "names", [])] + [getattr(node, "module", "") or ""]
        assert not {"sh", "pyroute2", "asyncio"} & {word.split(".")[0] for word in names}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_reads_the_configuration_of_the_boot(name):
    """Argv is the only configuration a command knows; coda-build-disk carries the file."""
    code = ast.parse((TOP / "bin" / name).read_text())
    for node in ast.walk(code):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node is not code.body[0].value:
            assert "/proc/cmdline" not in node.value
            assert name == "coda-build-disk" or "coda-boot.conf" not in node.value


def test_no_silent_except():
    for path in [*(TOP / "lib").rglob("*.py"), *(TOP / "bin" / name for name in COMMANDS)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"


def test_every_file_named_in_the_lists_of_the_disk_is_a_list():
    for path in (TOP / "etc/disk.d").iterdir():
        assert path.name == "commands" or path.suffix in (".files", ".modules")


def test_version_is_one():
    from codaboot import VERSION
    assert f"coda-boot {VERSION}" in (TOP / "man/coda-boot.7").read_text()
    assert (TOP / "NEWS").read_text().startswith(f"{VERSION} ")
