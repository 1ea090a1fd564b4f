"""coda-report-boot: what it makes of a record, however the record was left."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

RECORD = """\
{"name": "init", "start": 5.0, "end": 5.1, "status": 0, "reason": "", "argv": []}
{"name": "coda-fsck-root", "start": 5.1, "end": 6.0, "status": 0, "reason": "", "argv": ["coda-fsck-root"]}
{"name": "coda-netup", "start": 5.1, "end": 9.1, "status": 99, "reason": "no <link> & no time"}
{"name": "coda-netup", "start": 20, "end": 21, "status": 0, "reason": "", "argv": ["coda-netup"], "new": [1]}
{"name": "coda-handoff", "start": 21.0, "end": null, "status": null, "reason": "", "argv": ["coda-handoff"]}
"""


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "boot"
    path.write_text(RECORD)
    return path


def test_table_has_a_row_for_each_run_of_a_step(run_command, record):
    done = run_command("coda-report-boot", record)
    assert done.returncode == 0
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["coda-netup", "5.10"] in rows and ["coda-netup", "#2"] in rows
    assert "time out" in done.stdout and "no end" in done.stdout
    assert "no <link> & no time" in done.stdout


def test_a_cut_line_is_passed_over_and_named(run_command, record):
    record.write_text(RECORD + '{"name": "coda-mount-dev", "sta')
    done = run_command("coda-report-boot", "--verbose", record)
    assert done.returncode == 0
    assert "coda-mount-dev" not in done.stdout
    assert "6" in done.stderr


def test_json_is_the_steps_in_order_of_their_start(run_command, record):
    data = json.loads(run_command("coda-report-boot", "--json", record).stdout)
    assert data["start"] == 5.0
    assert [step["start"] for step in data["steps"]] == sorted(step["start"] for step in data["steps"])
    assert data["steps"][1]["status"] in (0, 99)


def test_svg_is_xml_with_a_bar_for_each_step(run_command, record):
    done = run_command("coda-report-boot", "--svg", record)
    tree = ElementTree.fromstring(done.stdout)
    bars = [node for node in tree.iter("{http://www.w3.org/2000/svg}rect")
            if node.get("class") in ("ok", "late", "failed", "open")]
    assert len(bars) >= 4
    assert "no <link> & no time" in "".join(tree.itertext())


def test_standard_input(run_command, record):
    with open(record) as file:
        done = run_command("coda-report-boot", "-", stdin=file)
    assert done.returncode == 0 and "coda-netup" in done.stdout


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense\n", '{"name": "x"}\n'])
def test_a_record_without_steps_is_a_result_of_its_own(run_command, record, text):
    record.write_text(text)
    done = run_command("coda-report-boot", record)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) <= 2


def test_a_missing_record_is_named(run_command, tmp_path):
    done = run_command("coda-report-boot", tmp_path / "none")
    assert done.returncode == 111
    assert str(tmp_path / "none") in done.stderr


@pytest.mark.parametrize("times", [(1, 0.5), (0, 0), (3, 3)])
def test_odd_times_give_no_negative_bar(module, times):
    line = json.dumps({"name": "a", "start": times[0], "end": times[1], "status": 0})
    steps, bad = module.parse_record(line)
    assert not bad
    assert module.duration(steps[0], module.summarise(steps)) >= 0


def test_control_characters_do_not_reach_the_terminal(module):
    steps, _ = module.parse_record(json.dumps({"name": "a\x1b[2J", "start": 1, "end": 2, "status": 1,
                                               "reason": "x\x07\ny"}))
    assert steps[0].name == "a [2J" and steps[0].reason == "x y"


def test_tick_distance_is_round(module):
    assert module.tick_step(9) == 1.0
    assert module.tick_step(0.1) == pytest.approx(0.02)
    assert module.tick_step(100) == 20


def test_a_rehearsal_is_no_first_try(module):
    def line(start, *argv):
        return json.dumps({"name": "h", "start": start, "end": start + 1, "status": 0, "argv": ["h", *argv]})

    lines = line(1, "--dry-run", "/r"), line(2, "/r", "--", "-n"), line(3, "/r")
    steps, _ = module.parse_record("\n".join(lines))
    assert [module.label(step) for step in steps] == ["h --dry-run", "h", "h #2"]
    assert [step["name"] for step in module.as_json(module.summarise(steps))["steps"]] == ["h"] * 3


def test_a_reason_does_not_repeat_the_name(module):
    steps, _ = module.parse_record(json.dumps({"name": "h", "start": 1, "end": 2, "status": 111,
                                               "reason": "h: cannot do 'x': no h: left"}))
    assert steps[0].reason == "cannot do 'x': no h: left"


@pytest.mark.parametrize("end", [1.001, 1.5, 10.0, 300.0])
def test_no_bar_and_no_time_leaves_the_picture(module, end):
    """Rows that begin late and are short are where a label has no room to the right."""
    record = [{"name": "init", "start": 1, "end": 1, "status": 0},
              {"name": "long", "start": 1, "end": end, "status": 0},
              {"name": "last", "start": end, "end": end, "status": 99}]
    boot = module.summarise(module.parse_record("\n".join(map(json.dumps, record)))[0])
    tree = ElementTree.fromstring(module.as_svg(boot))
    for node in tree.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(node.get("x")) <= float(node.get("x")) + float(node.get("width")) <= module.WIDTH
    for node in tree.iter("{http://www.w3.org/2000/svg}text"):
        width = 7.2 * len(node.text) if "halo" in node.get("class") else 0
        x = float(node.get("x")) - (width if node.get("text-anchor") == "end" else 0)
        assert 0 <= x <= x + width <= module.WIDTH
