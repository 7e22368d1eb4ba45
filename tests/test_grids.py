"""Grids as data: files that describe runs, the search for settings, and doing what is missing."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
from processes import run, started, wait_until

from hashlab import grid, records
from hashlab.cli import main
from hashlab.errors import InputError

HEAD = """
title = "A few runs"
dataset = "digits"
bits = [8, 12]
seeds = [0, 1]

[search]
bits = 8
"""
SEARCHED = """
[[rows]]
name = "searched"
method = "dpsh"
settings = { epochs = 1 }
search = [{ lr = [0.003, 0.01, 0.03] }, { pairs = ["memory", "batch"] }]
"""
LSH = """
[[rows]]
method = "lsh"
"""
QUICK = """
[[rows]]
name = "searched"
method = "itq"
search = [{ iterations = [2, 5, 10] }]
"""


@pytest.fixture
def written(tmp_path):
    def write(*parts):
        file = tmp_path / "grid.toml"
        file.write_text("\n".join(map(textwrap.dedent, parts)))
        return file

    return write


def done(file, root, **how):
    return list(grid.Worker(grid.read(file), root, **how).work())


# ---- the file


def test_rows_take_what_they_do_not_say_from_the_top(written):
    row = """
    [[rows]]
    method = "dpsh"
    bits = [16]
    settings = { lr = 0.02, momentum = "" }
    """
    common = "[settings]\nlr = 0.1\nmomentum = 0.5\nepochs = 2\n"
    (one, two) = grid.read(written(HEAD, common, row, LSH.replace('"lsh"', '"csq"'))).rows
    assert (one.name, one.dataset, one.protocol) == ("dpsh", "digits", "digits")
    assert (one.bits, one.seeds) == ((16,), (0, 1)) and two.bits == (8, 12)
    assert one.settings == {"lr": 0.02, "epochs": 2}
    assert two.settings == {"lr": 0.1, "momentum": 0.5, "epochs": 2}
    assert (one.search_bits, one.search_seed) == (8, 0)


ROW = '[[rows]]\nmethod = "lsh"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "is not TOML"),
        ('title = "a"\n', "rows is missing"),
        (HEAD + "[[rows]]\nbits = [8]\n", "row 1: method is missing"),
        ("colour = 1\n" + HEAD + ROW, "unknown key 'colour'; known are bits, dataset"),
        (HEAD + "lr = 1\n" + ROW, r"\[search\]: unknown key 'lr'; known are bits, seed"),
        (HEAD + ROW + "weights = 1\n", "row 1: unknown key 'weights'"),
        (HEAD + ROW.replace("lsh", "lhs"), "row 1: unknown method 'lhs'"),
        (HEAD + ROW + 'dataset = "dogs"\n', "row 1: unknown data set 'dogs'"),
        (HEAD + ROW + "dataset = 3\n", "row 1: unknown data set 3"),
        (HEAD + ROW + 'protocol = "mnist-1k"\n', "row 1: unknown protocol 'mnist-1k' for digits"),
        (HEAD + ROW + "settings = { lr = 1 }\n", r"row 1 \(lsh\): .*lr"),
        (HEAD + ROW + "settings = 1\n", "settings must be a table, got 1"),
        (HEAD + ROW + "search = 1\n", "search must be a list of stages"),
        (HEAD + ROW + "search = [{ lr = 1 }]\n", "search must be a list of stages"),
        (HEAD + ROW + 'search = [{ size = ["x"] }]\n', r"row 1 \(lsh\): setting size must be"),
        (HEAD + ROW + "bits = 8\n", "bits must be a list of whole numbers, got 8"),
        (HEAD + ROW + "bits = [0]\n", r"row 1 \(lsh\): bits must be"),
        (HEAD + ROW + "seeds = [-1]\n", r"row 1 \(lsh\): seed must be"),
        (HEAD + ROW + ROW, "each row has a name of its own, but two are called 'lsh'"),
        (HEAD + "rows = []\n", r"\[search\]: unknown key 'rows'"),
        ("rows = []\n" + HEAD, "rows must be tables"),
    ],
)
def test_a_file_that_is_wrong_says_so(text, message, written, tmp_path, capsys):
    with pytest.raises(InputError, match=message):
        grid.read(written(text))
    assert main(["grid", str(written(text)), "--root", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.startswith("hashlab: ") and not (tmp_path / "r").exists()


def test_a_file_that_is_missing_or_a_run_that_cannot_be_is_found_first(written, tmp_path, capsys):
    assert main(["grid", str(tmp_path / "none.toml")]) == 2
    wrong = LSH.replace("lsh", "csq") + "settings = { batch_size = 9999 }\n"
    assert main(["grid", str(written(HEAD, LSH, wrong)), "--root", str(tmp_path / "r")]) == 2
    assert "batch_size must lie in 2..1200" in capsys.readouterr().err
    assert records.load(tmp_path / "r") == []


# ---- the search


@pytest.mark.parametrize(
    ("values", "best", "expected"),
    [
        ([0.001, 0.003, 0.01], 0.003, None),
        ([0.0003, 0.001, 0.003], 0.003, [0.0003, 0.001, 0.003, 0.01]),
        ([0.0003, 0.001, 0.003], 0.0003, [0.0001, 0.0003, 0.001, 0.003]),
        ([1, 2, 4], 4, [1, 2, 4, 8]),
        ([1, 2, 4], 1, None),  # half of one rounds to one
        ([2, 3, 4], 2, None),
        ([2.0, 4.0], 4.0, None),  # two values are a choice, not a scale
        ([0.0, 0.1, 1.0], 1.0, None),
        ([4, 2, 1], 1, None),
        (["a", "b", "c"], "c", None),
        ([False, True, True], True, None),
    ],
)
def test_a_list_is_widened_where_its_best_stands_at_an_end(values, best, expected):
    stage = {"x": values, "y": ["one", "two"]}
    longer = grid.widened(stage, {"x": best, "y": "one"})
    assert longer == (None if expected is None else stage | {"x": expected})


def test_the_search_keeps_what_finds_held_out_images_best(written, tmp_path, monkeypatch):
    """Each stage goes on from the one before it; a best value at an end is looked beyond."""
    score = {0.003: 0.2, 0.01: 0.3, 0.03: 0.5, 0.1: 0.6, 0.333: 0.4}
    monkeypatch.setattr(
        grid,
        "unseen",
        lambda record: score[record["config"]["lr"]] + (record["config"]["pairs"] == "batch") / 10,
    )
    file = written(HEAD, SEARCHED)
    done(file, tmp_path)
    (row,) = grid.read(file).rows
    choice = grid.choice(row, grid.read(file).kept(tmp_path))
    assert choice.settings == {"epochs": 1, "lr": 0.1, "pairs": "batch"} and not choice.missing
    rates = [settings["lr"] for settings, _ in choice.tried]
    assert rates == [0.003, 0.01, 0.03, 0.1, 0.333, 0.1, 0.1]
    tuned = records.load(tmp_path, protocol="digits/tuning")
    assert len(tuned) == 7  # the best of the first stage had other pairs, balanced ones
    assert {(record.bits, record.seed) for record in tuned} == {(8, 0)}
    final = records.load(tmp_path, protocol="digits")
    assert {(record.bits, record.seed) for record in final} == {(8, 0), (8, 1), (12, 0), (12, 1)}
    assert {(record.config["lr"], record.config["pairs"]) for record in final} == {(0.1, "batch")}


def test_a_trial_that_diverges_is_the_worst_one_and_is_not_tried_again(written, tmp_path):
    text = SEARCHED.replace("[0.003, 0.01, 0.03]", "[0.01, 1e6]").replace("dpsh", "mu_liu")
    file = written(HEAD, text.replace(', { pairs = ["memory", "batch"] }', ""))
    first = done(file, tmp_path)
    errors = [str(one.error) for one in first if one.error]
    assert len(errors) == 1 and "the loss is nan" in errors[0]
    kept = grid.read(file).kept(tmp_path)
    choice = grid.choice(grid.read(file).rows[0], kept)
    assert choice.settings["lr"] == 0.01 and [grid.unseen(r) for _, r in choice.tried][1] == -1
    assert done(file, tmp_path) == []
    assert len(records.load(tmp_path, protocol="digits")) == 4


def test_a_trial_beyond_what_the_data_allow_is_the_worst_one(written, tmp_path, monkeypatch):
    """Here widening asks for more directions than digits have."""
    monkeypatch.setattr(grid, "unseen", lambda record: record.get("bits") if record.path else -1)
    row = '[[rows]]\nmethod = "ksh"\nbits = [8]\nseeds = [0]\n'
    row += "search = [{ anchors = [100, 200, 1500] }]\nsettings = { labeled = 200, steps = 5 }\n"
    first = done(written(HEAD, row), tmp_path)
    assert sum(one.error is not None for one in first) == 1
    assert "1500 anchors" in str(next(one.error for one in first if one.error))
    assert len(list(tmp_path.rglob("*.failed"))) == 1
    assert len(records.load(tmp_path, protocol="digits")) == 1


def test_a_list_is_not_widened_beyond_what_a_setting_can_be(written, tmp_path, monkeypatch):
    """A momentum above 1 would stop the search, and every page that reads the grid."""
    monkeypatch.setattr(grid, "unseen", lambda record: record["config"]["momentum"])
    row = SEARCHED.replace(
        'lr = [0.003, 0.01, 0.03] }, { pairs = ["memory", "batch"]', "momentum = [0.25, 0.5, 1.0]"
    )
    file = written(HEAD, row)
    assert [one.error for one in done(file, tmp_path)] == [None] * 7
    read = grid.read(file)
    assert grid.choice(read.rows[0], read.kept(tmp_path)).settings["momentum"] == 1.0


def test_a_file_of_a_failed_trial_that_is_none_says_so(written, tmp_path):
    (tmp_path / "digits" / "tuning").mkdir(parents=True)
    (tmp_path / "digits" / "tuning" / "dpsh-8b-s0-0.failed").write_text("{}")
    with pytest.raises(InputError, match="is no trial that failed: it must hold bits, config"):
        grid.read(written(HEAD, SEARCHED)).kept(tmp_path)


def test_a_run_is_the_same_however_its_settings_are_written(written):
    (row,) = grid.read(written(HEAD, SEARCHED)).rows
    written_out = {"lr": 1, "epochs": 1, "pairs": "memory"}
    names = {grid.Job(row, 8, 0, s).name for s in (written_out, {"epochs": 1, "lr": 1.0})}
    assert len(names) == 1
    assert grid.Job(row, 8, 0, {"lr": 2}).name not in names
    assert grid.Job(row, 8, 1, written_out).name not in names


def test_unseen_searches_one_half_of_the_queries_for_the_other(written, tmp_path):
    done(written(HEAD, LSH), tmp_path)
    record = records.load(tmp_path)[0]
    stored = record.codes()
    codes, labels = stored["query_codes"], stored["query_labels"]
    from hashlab import metrics

    maps = [
        metrics.evaluate(codes[a::2], codes[b::2], labels[a::2], labels[b::2], bits=record.bits).map
        for a, b in ((0, 1), (1, 0))
    ]
    assert grid.unseen(record) == pytest.approx(sum(maps) / 2, abs=1e-12)


# ---- doing it


def test_what_is_there_is_not_done_again_and_what_is_missing_is_an_empty_cell(written, tmp_path):
    file = written(HEAD, LSH)
    read = grid.read(file)
    assert set(read.cells(read.rows[0], read.kept(tmp_path)).values()) == {None}
    first = done(file, tmp_path)
    assert [one.left for one in first] == [3, 2, 1, 0]
    assert [(one.job.bits, one.job.seed) for one in first] == [(8, 0), (12, 0), (8, 1), (12, 1)]
    assert done(file, tmp_path) == []
    kept = read.kept(tmp_path)
    record = kept.find(grid.Job(read.rows[0], 12, 1, {}))
    record.path.unlink()
    cells = read.cells(read.rows[0], read.kept(tmp_path))
    assert [key for key, cell in cells.items() if cell is None] == [(12, 1)]
    assert cells[8, 0].map == first[0].record.map
    assert [(one.job.bits, one.job.seed) for one in done(file, tmp_path)] == [(12, 1)]


def test_a_cell_waits_for_its_search(written, tmp_path):
    read = grid.read(written(HEAD, SEARCHED, LSH))
    todo, waiting = read.todo(read.kept(tmp_path))
    assert [str(job) for job in todo[:3]] == ["searched, 8 bits, search"] * 3
    assert len(todo) == 3 + 4 and waiting == 4
    assert [read.missing(row, read.kept(tmp_path)) for row in read.rows] == [7, 4]


def test_rows_and_files_may_have_runs_in_common(written, tmp_path):
    again = LSH + 'name = "again"\nbits = [8, 16]\n'
    read = grid.read(written(HEAD, LSH, again))
    joined = grid.joined([read, read])
    assert len(joined.todo(joined.kept(tmp_path))[0]) == 6
    assert len(list(grid.Worker(joined, tmp_path).work())) == 6


def test_a_run_that_fails_does_not_stop_the_others(written, tmp_path, capsys):
    wrong = '[[rows]]\nmethod = "itq"\nbits = [100]\nseeds = [0]\n'
    file = written(HEAD, wrong, LSH)
    assert main(["grid", str(file), "--root", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert "itq, 100 bits, seed 0: ITQ takes each bit from" in output.err
    assert output.out.count("lsh, ") == 4


def test_records_are_found_whatever_folder_weights_are_in():
    old = {"weights": "/one/net.safetensors sha256:abc", "lr": 1}
    assert grid.comparable(old) == {"weights": "net.safetensors", "lr": 1}
    assert grid.comparable({"lr": 1}) == {"lr": 1}


def command(file, root, *more):
    return [sys.executable, "-m", "hashlab.cli", "grid", str(file), "--root", str(root), *more]


@pytest.fixture
def rows(campaign):
    """A row that is searched, and one that is not; networks are trained in the long form only."""
    return (SEARCHED if campaign else QUICK), LSH


@pytest.mark.process
def test_processes_side_by_side_do_each_run_once(written, tmp_path, rows, campaign):
    """Every run of the grid is reported by one process, and by one only: of two that a command
    starts, and a third that another one is.
    """
    file = written(HEAD, *rows)
    words = command(file, tmp_path / "r", "--processes", "2")
    with started(words, stdout=subprocess.PIPE) as other:
        one = run(*(words if campaign else words[:-2]))
        lines = (one.stdout + other.communicate()[0]).splitlines()
    assert one.returncode == other.returncode == 0
    runs = Counter(line.split(": mAP")[0] for line in lines)
    kept = records.load(tmp_path / "r")
    assert sum(runs.values()) == len(kept) == len({record.path for record in kept})
    final = {name: count for name, count in runs.items() if not name.endswith(", search")}
    assert len(final) == 8 and set(final.values()) == {1}
    assert all(records.verify(record) == [] for record in kept)


def test_the_budget_ends_a_grid_cleanly_and_it_goes_on_from_there(written, tmp_path):
    """The run that is under way is saved, and taken up the next time. What the alarm of the budget
    does is done here once training has begun, however long that takes on this machine.
    """
    long = '[[rows]]\nmethod = "csq"\nseeds = [0]\nbits = [8]\nsettings = { epochs = 100000 }\n'
    file = written(HEAD, long)
    checkpoints = tmp_path / "r" / ".checkpoints"
    saved = []

    def goes_on():
        """Whether the step that is saved lies behind the first; each time there is longer for it."""
        with started(command(file, tmp_path / "r", "--budget", "100")) as process:
            wait_until(lambda: list(checkpoints.glob(".*lock")), "the run")
            time.sleep(0.5 * len(saved))
            process.send_signal(signal.SIGALRM)
            assert process.wait() == 0
        saved.append(max(path.name for path in checkpoints.rglob("*.safetensors")))
        assert records.load(tmp_path / "r") == [] and saved == sorted(saved)
        return saved[0] < saved[-1]

    wait_until(goes_on, "a step behind the first one")


def test_no_run_is_begun_after_the_budget(written, tmp_path):
    assert done(written(HEAD, LSH), tmp_path, until=0.0) == []


@pytest.mark.process
def test_a_grid_that_was_killed_goes_on(written, tmp_path, rows):
    file = written(HEAD, *rows)
    words = command(file, tmp_path / "r")
    with started(words, stdout=subprocess.PIPE) as killed:
        killed.stdout.readline()
    first = len(records.load(tmp_path / "r"))
    assert run(*command(file, tmp_path / "r")).returncode == 0
    kept = records.load(tmp_path / "r")
    assert 1 <= first < len(kept) and all(records.verify(record) == [] for record in kept)
    read = grid.read(file)
    assert read.todo(read.kept(tmp_path / "r")) == ([], 0)
    assert not (tmp_path / "r" / ".grid").exists()


def test_the_estimate_says_what_is_missing_and_does_nothing(written, tmp_path, capsys):
    file = written(HEAD, SEARCHED, LSH)
    words = ["grid", str(file), "--root", str(tmp_path / "r")]
    assert main([*words, "--estimate"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "searched: 7 runs missing, no run yet to go by",
        "lsh: 4 runs missing, no run yet to go by",
    ]
    assert not (tmp_path / "r").exists()
    done(written(HEAD, LSH), tmp_path / "r")
    first = records.load(tmp_path / "r")[0]
    first.path.unlink()
    for record in records.load(tmp_path / "r"):
        record["seconds"] = {"train": 50.0, "encode": 9.0, "evaluate": 1.0}
        record.path.write_text(json.dumps(record | {"digest": records.digest(record)}))
    main([*words[:1], str(written(HEAD, SEARCHED, LSH)), *words[2:], "--estimate"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "lsh: 1 runs missing, about 60 s each"
    assert lines[2].startswith("about 1 minutes of one process, and 7 runs of which nothing")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "0"], "--processes must be 1 or more, got 0"),
        (["--budget", "0"], "--budget must be more than 0 minutes, got 0.0"),
        (["--budget", "nan"], "--budget must be more than 0 minutes, got nan"),
        (["--device", "tpu"], "device 'tpu' cannot be used"),
    ],
)
def test_words_that_cannot_be(words, message, written, tmp_path, capsys):
    file = written(HEAD, LSH)
    assert main(["grid", str(file), "--root", str(tmp_path / "r"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_the_files_of_the_project_can_be_read():
    from hashlab.files import _disk

    files = sorted((_disk.checkout() / "experiments").glob("*.toml"))
    assert files
    for file in files:
        assert grid.read(file).rows
