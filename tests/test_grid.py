"""Several runs in one pass: the same records as from separate runs,
checked before the first one starts.
"""

import dataclasses
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hashlab import data, experiments, methods, records
from hashlab.cli import main, variants
from hashlab.errors import InputError
from hashlab.networks import features, weights
from hashlab.training import loop
from hashlab.training.sharing import Itself, PhaseKey

QUICK = {"epochs": 1, "pretrain_epochs": 1}


def codes_of(folder):
    return {
        record.path.name: record.codes()["database_codes"].tobytes()
        for record in records.load(folder)
    }


def test_runs_in_one_pass_equal_separate_runs(tmp_path):
    variants = [QUICK, QUICK | {"frozen": True}]
    runs = experiments.plan(
        ["mu_liu"], "digits", [8, 16], [0, 1], variants, root=tmp_path / "pass", save=True
    )
    assert len(runs) == 8 and records.load(tmp_path / "pass") == []
    together = [run() for run in runs]
    for variant in variants:
        for seed in (0, 1):
            for bits in (8, 16):
                experiments.run(
                    "mu_liu", "digits", bits, seed, root=tmp_path / "alone", save=True, **variant
                )
    assert (
        codes_of(tmp_path / "pass") == codes_of(tmp_path / "alone")
        and len(codes_of(tmp_path / "pass")) == 8
    )
    shared = [any(line.get("shared") for line in record.history) for record in together]
    assert shared == [False, True, False, True, False, False, False, False]
    for record in together:
        assert records.verify(record) == []
        for kind in ("seconds", "cpu_seconds"):  # epochs that another run has done count as well
            assert record[kind]["train"] >= sum(line[kind] for line in record.history) - 1e-6 > 0


@pytest.mark.parametrize("tuning", [True, False])
@pytest.mark.parametrize(
    ("method", "settings", "steps", "passes"),
    [
        ("mu_liu", QUICK, {"pre-training": 1, "hashing": 2}, 0),
        ("mu_liu", QUICK | {"frozen": True}, {"hashing": 2}, 1),
        ("itq", {"backbone": "tiny"}, {}, 1),
    ],
)
def test_two_lengths_share_what_does_not_depend_on_the_length(
    method, settings, steps, passes, tuning, monkeypatch
):
    """Also where a tenth of the training part is split off:
    epochs, and passes over the training part, are counted.
    """
    epochs, seen = Counter(), Counter()
    run_epoch, compute = loop.Loop.run_epoch, features.compute
    monkeypatch.setattr(
        loop.Loop, "run_epoch", lambda self, p: (epochs.update([p.name]), run_epoch(self, p))[1]
    )
    monkeypatch.setattr(features, "compute", lambda *a: (seen.update([len(a[2])]), compute(*a))[1])
    for run in experiments.plan(
        [method], data.load("digits"), [8, 16], [0], [settings], tuning=tuning
    ):
        run()
    assert dict(epochs) == steps
    train = 1080 if tuning else 1200
    assert seen[train] == passes and set(seen.values()) <= {1}


def test_a_run_says_what_it_is_before_it_is_done(tmp_path):
    loaded = data.load("digits")
    how = {"root": tmp_path, "save": True, "save_model": tmp_path / "model"}
    (run,) = experiments.plan(["mu_liu"], loaded, [8], [3], [QUICK], tuning=True, **how)
    assert (run.method, run.data, run.bits, run.seed) == ("mu_liu", loaded.tuning(), 8, 3)
    assert (
        run.settings["config"]["epochs"] == 1
        and run.kept() is None
        and list(tmp_path.iterdir()) == []
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 4
    record = run.do()
    assert record.path == Path(f"{run.stem}.json") and run.name == records.name(record)
    assert run.settings.items() <= record.items() and run.kept() == record
    assert methods.load(tmp_path / "model").bits == 8
    assert experiments.prepare("mu_liu", "digits", 8, 3, QUICK, tuning=True).name == run.name


def test_a_run_can_be_done_again_and_keeps_no_network():
    run = experiments.prepare("mu_liu", "digits", 8, 0, QUICK)
    first, again, called = run.do(), run.do(methods.Shared()), run()
    assert first.metrics == again.metrics == called.metrics
    first.config.clear()
    assert run.settings["config"] == again.config != {}
    assert run.learner.network is None and run.learner.history == []


@pytest.mark.parametrize("name", ["mu_liu", "itq", "mlsh"])
def test_a_run_is_prepared_once(name, tmp_path, monkeypatch):
    """Method, tuning split and settings:
    from the plan to the record, and where a model is saved.
    """
    made = Counter()

    def count(module, function):
        usual = getattr(module, function)
        monkeypatch.setattr(
            module, function, lambda *a, **k: (made.update([function]), usual(*a, **k))[1]
        )

    count(methods, "create")
    count(experiments, "load_data")
    count(experiments, "_settings")
    settings = {"itq": {}}.get(name, {"epochs": 0})
    how = {"root": tmp_path / "r", "save": True, "save_model": tmp_path / "m"}
    for run in experiments.plan(
        [name], "digits", [12, 24], variants=[settings], tuning=True, **how
    ):
        run.do()
    assert made == {"create": 2, "load_data": 1, "_settings": 2}
    made.clear()
    experiments.run(
        name, "digits", 12, root=tmp_path / "r", save=True, save_model=tmp_path / "one", **settings
    )
    assert made == {"create": 1, "load_data": 1, "_settings": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "abacus"}, "abacus"),
        ({"overrides": {"batch_size": 9999}}, r"batch_size must lie in 2\.\.1200"),
        ({"save_model": "full"}, "holds other things than a model"),
        ({"root": "full/thing", "save": True}, "is a file; a folder is expected"),
    ],
)
def test_a_run_that_cannot_be_is_refused_by_its_check(change, words, tmp_path, monkeypatch):
    """Whatever is wrong: the device, settings that do not suit the data, or places."""
    no_training(monkeypatch)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    change = {
        key: tmp_path / value if key in ("root", "save_model") else value
        for key, value in change.items()
    }
    whole = {"method": "mu_liu", "data": "digits", "bits": 8, "overrides": QUICK}
    experiments.prepare(**whole).check()
    with pytest.raises(InputError, match=words):
        experiments.prepare(**whole | change).check()


def test_a_tuning_split_is_made_once_and_equal_parts_are_one():
    loaded = data.load("digits")
    assert loaded.tuning() is loaded.tuning() and loaded.tuning().train is loaded.tuning().database
    part, pool = loaded.train, loaded.train.pool
    again = pool.part(part.index.copy())
    assert part == again and hash(part) == hash(again) and len({part, again}) == 1
    relabelled = dataclasses.replace(part, labels=1 - part.labels)
    other_levels = dataclasses.replace(part, levels=np.stack([part.labels] * 2, 1))
    fewer, turned, of_another_pool = (
        pool.part(part.index[1:]),
        pool.part(part.index[::-1]),
        data.load("digits").train,
    )
    others = [fewer, turned, of_another_pool, relabelled, other_levels]
    assert (
        not any(part == other for other in (*others, part.images, None))
        and len({part, *others}) == 6
    )


def test_an_array_in_a_key_is_equal_to_itself_only():
    first, second = np.zeros(3), np.zeros(3)
    assert len({Itself(first), Itself(first), Itself(second)}) == 2 and Itself(first) != first
    shared = methods.Shared()
    assert [shared.features(Itself(x), lambda x=x: x) is first for x in (first, second, first)] == [
        True,
        False,
        True,
    ]


def test_a_phase_that_failed_is_not_kept_and_a_new_one_takes_the_place_of_the_old():
    shared, key = methods.Shared(), PhaseKey("a", (), 0, "cpu", None)
    with pytest.raises(KeyError):
        shared.phase(key, lambda: {}["nothing"])
    keys = [key, key, dataclasses.replace(key, seed=1), dataclasses.replace(key, name="b"), key]
    made = [shared.phase(one, lambda i=i: i) for i, one in enumerate(keys)]
    assert made == [0, 0, 2, 3, 4]


def test_several_runs_on_the_command_line(tmp_path, capsys, short):
    assert main(short("run", tmp_path, "--seeds", "3", bits=(8, 16), c="2,4", epochs=1)) == 0
    kept = {(record.bits, record.config["c"]) for record in records.load(tmp_path, seed=3)}
    assert (
        kept == {(8, 2), (8, 4), (16, 2), (16, 4)} and capsys.readouterr().out.count("mAP 0.") == 4
    )


def test_what_is_named_twice_is_run_once(tmp_path, capsys, short):
    """Also where it is written in two ways, and where a default is named."""
    words = short(
        "run", tmp_path / "r", "--seeds", "0", "1", "0", bits=(8, 8), c="1,1.0,4,1", lr="0.1,0.1"
    )
    words[1] = "mu_liu,mu_liu"
    assert main([*words, "--save-model", str(tmp_path / "models")]) == 0
    assert len(set(capsys.readouterr().out.splitlines())) == 4 == len(records.load(tmp_path / "r"))
    assert len(list((tmp_path / "models").iterdir())) == 4
    variants = [{"epochs": 0}, {"epochs": 0, "lr": 0.1}]  # which is the default
    assert len(experiments.plan(["mu_liu"], "digits", [8], [0], variants)) == 1
    assert main(short("run", tmp_path / "one", "--seeds", "5", "5")) == 0
    assert capsys.readouterr().out.count("mAP") == 1


def test_variants():
    assert variants(["a=1,2", "b=x", "c=0.5,True"]) == [
        {"a": a, "b": "x", "c": c} for a in (1, 2) for c in (0.5, True)
    ]
    assert variants([]) == [{}]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--bits", "8", "0"], "bits must be a whole number of at least 1, got 0"),
        (["--bits", "8", "--seeds", "0", "-1"], "seed must be an integer in 0"),
        (["--bits", "8", "--set", "batch_size=64,9999"], "batch_size must lie in 2..1200"),
        (
            ["--bits", "8", "--set", "backbone=tiny,alexnet"],
            "backbone alexnet takes images of at least 63 px, got 8x8",
        ),
        (
            ["--bits", "8", "--set", "weights=nowhere.safetensors"],
            "got 'nowhere.safetensors': no such file",
        ),
    ],
)
def test_nothing_is_run_where_one_run_cannot_be(words, message, tmp_path, capsys):
    assert main(["run", "mu_liu", "digits", "--root", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def no_training(monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("work was begun"))


@pytest.mark.parametrize("option", ["--root", "--save-model"])
def test_a_folder_that_cannot_be_written_is_found_before_any_work(
    option, tmp_path, capsys, monkeypatch, short
):
    """A file, a folder below a file, and a folder that the system keeps closed;
    for one run and for several.
    """
    no_training(monkeypatch)
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    usual = tempfile.TemporaryFile

    def refuse(*words, dir=None, **more):
        if Path(dir) == tmp_path / "closed":
            raise PermissionError(13, "Permission denied", str(dir / "tmp123"))
        return usual(*words, dir=dir, **more)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    closed = f"nothing can be written into {tmp_path / 'closed'}: Permission denied"
    file = f"{tmp_path / 'file'} is a file; a folder is expected"
    for folder, message in (
        ("file", file),
        ("file/new", file),
        ("closed", closed),
        ("closed/new/folder", closed),
    ):
        for bits in ((8,), (8, 16)):
            assert (
                main(short("run", tmp_path / "records", option, str(tmp_path / folder), bits=bits))
                == 2
            )
            assert capsys.readouterr().err == f"hashlab: {message}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "file"]


def test_what_a_grid_cannot_keep_is_found_before_its_first_run(
    tmp_path, capsys, monkeypatch, short
):
    """The second of two runs has other things where its model should go,
    or a record made with other defaults.
    """
    assert main(short("run", tmp_path / "r", bits=(8, 16))) == 0
    first, second = sorted(records.load(tmp_path / "r"), key=lambda record: record.bits)
    no_training(monkeypatch)
    (tmp_path / "models" / second.path.stem).mkdir(parents=True)
    (tmp_path / "models" / second.path.stem / "thing").touch()
    models = ["--save-model", str(tmp_path / "models")]
    assert main(short("run", tmp_path / "r", *models, bits=(8, 16))) == 2
    assert "holds other things than a model" in capsys.readouterr().err
    first.path.unlink()
    second["config"]["momentum"] = 0.7
    second.path.write_text(json.dumps(second | {"digest": records.digest(second)}))
    assert main(short("run", tmp_path / "r", bits=(8, 16))) == 2
    assert "was made when momentum was 0.7 by default" in capsys.readouterr().err


def test_records_in_a_closed_folder_can_be_asked_for(tmp_path, monkeypatch, capsys, short):
    assert main(short("run", tmp_path)) == 0
    no_training(monkeypatch)
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **k: pytest.fail("nothing is to be written")
    )
    assert main(short("run", tmp_path)) == 0
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys, short):
    assert main(short("run", tmp_path, lr="1e6,0.1", epochs=1)) == 2
    captured = capsys.readouterr()
    assert "hashing: the loss is nan at step" in captured.err and captured.out.count("mAP") == 1


def test_a_run_that_turns_out_impossible_does_not_stop_the_others(tmp_path, capsys):
    words = ["run", "itq,lsh", "digits", "--bits", "12", "100", "--root", str(tmp_path)]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "bits must be at most 61" in captured.err
    kept = {(record.method, record.bits) for record in records.load(tmp_path)}
    assert kept == {("itq", 12), ("lsh", 12), ("lsh", 100)} and captured.out.count("mAP") == 3


def test_options_that_are_repeated_add_up(tmp_path, capsys, short):
    words = short(
        "run", tmp_path, "--bits", "16", "--seeds", "1", "--seeds", "2", "--set", "lr=0.02"
    )
    assert main(words) == 0
    kept = {
        (one.bits, one.seed, one.config["lr"], one.config["epochs"])
        for one in records.load(tmp_path)
    }
    assert kept == {(bits, seed, 0.02, 0) for bits in (8, 16) for seed in (1, 2)}
    assert main(short("run", tmp_path / "new", "--set", "c=2", "--set", "c=4")) == 2
    assert "setting c is given twice" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_record_without_its_codes_is_not_taken_for_done(tmp_path, capsys, short):
    assert main(short("run", tmp_path)) == 0
    (record,) = records.load(tmp_path)
    record.path.with_suffix(".npz").unlink()
    assert main(short("run", tmp_path)) == 2
    assert f"is there, but not its {record.path.stem}.npz" in capsys.readouterr().err
    record.path.unlink()
    assert main(short("run", tmp_path)) == 0 and records.verify(records.load(tmp_path)[0]) == []
    records.compact(records.load(tmp_path)[0])
    assert main(short("run", tmp_path)) == 0
    next(tmp_path.rglob("labels-*.npz")).unlink()
    assert main(short("run", tmp_path)) == 2 and "not its labels-" in capsys.readouterr().err


@pytest.mark.parametrize("other", [{"bits": 16}, {"seed": 1}, {"c": 2.0}, {"method": "dsh"}])
def test_a_model_does_not_take_the_place_of_another(other, tmp_path, monkeypatch):
    first = {"method": "mu_liu", "data": "digits", "bits": 8, "seed": 0} | QUICK
    experiments.run(**first, save_model=tmp_path / "m")
    experiments.run(
        **first, lr=0.1, save_model=tmp_path / "m"
    )  # of the same run it may, also with a default named
    before = (tmp_path / "m" / "model.json").read_bytes()
    no_training(monkeypatch)
    second = first | other
    if other == {"method": "dsh"}:
        del second["pretrain_epochs"]
    with pytest.raises(
        InputError, match=r"holds another model, digits/mu_liu-8b-s0-.*, not digits/.*; give a new"
    ):
        experiments.run(**second, save_model=tmp_path / "m")
    with pytest.raises(InputError, match="holds another model"):  # of which nobody knows the run
        methods.load(tmp_path / "m").save(tmp_path / "m")
    assert (tmp_path / "m" / "model.json").read_bytes() == before


def test_models_of_several_runs_stand_side_by_side(tmp_path, short):
    assert (
        main(short("run", tmp_path / "r", "--save-model", str(tmp_path / "models"), bits=(8, 16)))
        == 0
    )
    folders = sorted((tmp_path / "models").iterdir())
    assert [methods.load(folder).bits for folder in folders] == [16, 8]
    assert {folder.name for folder in folders} == {
        record.path.stem for record in records.load(tmp_path / "r")
    }


def test_a_kept_run_is_trained_again_for_its_model(tmp_path, monkeypatch):
    first = experiments.run("mu_liu", "digits", 8, root=tmp_path, save=True, **QUICK)
    before = first.path.read_bytes()
    again = experiments.run(
        "mu_liu", "digits", 8, root=tmp_path, save=True, save_model=tmp_path / "m", **QUICK
    )
    assert again == first and first.path.read_bytes() == before
    from hashlab import data

    model, loaded = methods.load(tmp_path / "m"), data.load("digits")
    assert model.encode(loaded.query).tobytes() == first.codes()["query_codes"].tobytes()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    no_training(monkeypatch)
    with pytest.raises(InputError, match="holds other things than a model"):
        experiments.run("mu_liu", "digits", 8, save_model=tmp_path / "full", **QUICK)


def test_a_record_names_its_weights_by_content(tmp_path):
    import safetensors.torch

    from hashlab.networks import backbones

    file = tmp_path / "start.safetensors"
    safetensors.torch.save_file(backbones.create("tiny", (8, 8)).state_dict(), file)
    record = experiments.run("mu_liu", "digits", 8, weights=str(file), epochs=0, pretrain_epochs=0)
    name = weights.describe(str(file), "tiny")
    assert record.weights == record.config["weights"] == name and record.variant.endswith(
        f"weights={name}"
    )
    assert str(tmp_path) not in str(dict(record))
    assert record.input["flip"] is False and record.hardware["precision"] == "float32"
