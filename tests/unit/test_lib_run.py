"""codaboot.run: other programs, and what is said of them when they fail."""


import pytest
from codaboot import cli, run


def test_a_program_is_found_without_a_path(monkeypatch):
    monkeypatch.delenv("PATH", raising=False)
    assert run.find("sh") in ("/usr/bin/sh", "/bin/sh")
    monkeypatch.setenv("PATH", "")
    assert run.find("sh")


def test_a_missing_program_is_127():
    with pytest.raises(cli.Failure) as caught:
        run.find("no-such-program")
    assert caught.value.code == 127
    assert str(caught.value) == "cannot find 'no-such-program'"


def test_result_has_output_and_status():
    result = run.program(["sh", "-c", "cat; echo err >&2; exit 3"], stdin="in", ok=(0, 3))
    assert (result.status, result.out, result.err) == (3, "in", "err\n")
    assert run.program(["sh", "-c", "exit 9"], ok=None).status == 9


@pytest.mark.parametrize("script, code, said", [
    ("echo one; echo why >&2; exit 5", 111, "exit status 5: why"),
    ("echo only out; exit 5", 111, "exit status 5: only out"),
    ("exit 5", 111, "exit status 5"),
    ("kill -9 $$", 137, "killed by SIGKILL")])
def test_failure_can_be_pasted_and_has_the_reason(script, code, said):
    with pytest.raises(cli.Failure) as caught:
        run.program(["sh", "-c", script])
    assert caught.value.code == code
    assert str(caught.value).endswith(f"sh -c '{script}'': {said}" if "'" not in script else said)


def test_a_program_that_takes_too_long_is_killed():
    with pytest.raises(cli.TimedOut, match="no end after 0 s"):
        run.program(["sleep", "60"], timeout=0.1)


def test_messages_come_in_plain_c(monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert run.environment()["LC_ALL"] == "C"
    assert run.program(["sh", "-c", "pwd"]).out == "/\n"


def test_tool_is_sh_with_our_failures():
    assert str(run.tool("echo")("a", 1)) == "a 1\n"
    lines = []
    done = run.tool("sh")("-c", "echo out; echo err >&2", _out=lines.append)
    assert (lines, done.stderr) == (["out\n"], b"err\n")
    with pytest.raises(cli.Failure, match="exit status 4: bad"):
        run.tool("sh")("-c", "echo bad >&2; exit 4")
    with pytest.raises(cli.Failure) as caught:
        run.tool("sh")("-c", "kill -TERM $$")
    assert caught.value.code == 128 + 15
