"""A run that is killed, or stopped, or finds a damaged checkpoint,
ends with the weights of one left in peace.
"""

import json
import math
import os
import signal
import warnings
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from processes import command, python

from hashlab import experiments, methods, records
from hashlab.data.batches import Batches, View
from hashlab.errors import InputError
from hashlab.training import checkpoints, loop, snapshots
from hashlab.training.checkpoints import Checkpoints, pack, unpack

pytestmark = pytest.mark.usefixtures("ctrl_c")
SETTINGS = {"epochs": 2, "pretrain_epochs": 1, "batch_size": 300}
STEPS = 12  # of the three epochs


def method(bits=12, **changes):
    return methods.create("mu_liu", bits, **SETTINGS | changes)


def weights(fitted):
    return pack(fitted.net.tensors(), {"losses": [line["loss"] for line in fitted.history]})


@pytest.fixture(scope="module")
def whole(digits):
    return weights(method().fit(digits.train))


def stop_after(monkeypatch, steps, how):
    """`how` is called once, after so many steps."""
    original, done = loop.Loop.one_step, []

    def one_step(self, phase, batch):
        original(self, phase, batch)
        done.append(phase.name)
        if len(done) == steps:
            how()

    monkeypatch.setattr(loop.Loop, "one_step", one_step)
    return done


# ---- files


def test_pack_and_unpack():
    tensors = {
        "a": torch.randn(3, 2),
        "b": torch.arange(5),
        "c": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "d": torch.tensor(1.5),
    }
    facts = {"position": [0, 1, 2], "loss": 0.1 + 0.2, "text": "∘"}
    again, facts_again = unpack(pack(tensors, facts), "it")
    assert facts_again == facts and all(
        torch.equal(again[name], tensor) for name, tensor in tensors.items()
    )


def test_every_altered_byte_and_every_cut_is_found():
    data = pack({"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.uint8)}, {"x": 1})
    for byte in range(len(data)):
        altered = bytearray(data)
        altered[byte] ^= 1
        with pytest.raises(InputError, match="it is damaged"):
            unpack(bytes(altered), "it")
        with pytest.raises(InputError, match="it is damaged"):
            unpack(data[:byte], "it")


def test_the_newest_two_are_kept(tmp_path):
    kept = Checkpoints(tmp_path / "run", {"bits": 8})
    assert kept.load() is None
    for number in range(4):
        kept.save({"x": torch.tensor(number)}, {"number": number})
    half = tmp_path / "run" / ".000000004.safetensors.0123abcd.hashlab-part"
    half.write_bytes(b"half")  # a process was killed here
    assert len(kept.files()) == 2 and kept.load()[1]["number"] == 3
    assert len(list((tmp_path / "run").iterdir())) == 2
    kept.remove()
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path):
    kept = Checkpoints(tmp_path, {"bits": 8})
    for number in range(2):
        kept.save({"x": torch.tensor(number)}, {"number": number})
    newest = kept.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    with pytest.warns(
        UserWarning, match=f"{newest.name} is damaged: .*; the one before it is used"
    ):
        assert kept.load()[1]["number"] == 0
    kept.files()[-1].write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert kept.load() is None


def test_a_checkpoint_is_not_due_before_its_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path, {}, every=60)
    assert not kept.due()
    now[0] += 60
    assert kept.due()
    kept.save({}, {})
    assert not kept.due()


# ---- runs


def test_training_with_checkpoints_is_training(digits, whole, tmp_path):
    assert weights(method().fit(digits.train, checkpoints=tmp_path, every=0)) == whole


@pytest.mark.parametrize("steps", [1, 4, 5, STEPS - 1, STEPS])
def test_a_run_that_fails_is_taken_up(steps, digits, whole, tmp_path, monkeypatch):
    """In the pre-training, at its end, after it, and at the very end; no step is done twice."""

    class Failure(Exception):
        pass

    def fail():
        raise Failure

    with monkeypatch.context() as patch:
        stop_after(patch, steps, fail)
        with pytest.raises(Failure):
            method().fit(digits.train, checkpoints=tmp_path, every=0)
    done = stop_after(monkeypatch, 0, None)
    assert weights(method().fit(digits.train, checkpoints=tmp_path, every=0)) == whole
    assert len(done) == STEPS - steps + 1  # the failure came before the step could be saved


def test_ctrl_c_saves_and_the_run_goes_on(digits, whole, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_after(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(
            checkpoints.Interrupted, match="hashing stopped after step 2, saved in "
        ):
            method().fit(digits.train, checkpoints=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    done = stop_after(monkeypatch, 0, None)
    assert (
        weights(method().fit(digits.train, checkpoints=tmp_path)) == whole
        and len(done) == STEPS - 6
    )


@pytest.fixture
def usual_ctrl_c():
    """Ctrl-C as Python takes it, also where these tests were started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_without_checkpoints_is_what_it_always_was(digits, monkeypatch):
    stop_after(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        method().fit(digits.train)
    assert type(caught.value) is KeyboardInterrupt


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), checkpoints.interruptible() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        signal.raise_signal(signal.SIGINT)


def test_a_damaged_checkpoint_costs_a_step(digits, whole, tmp_path, monkeypatch):
    method().fit(digits.train, checkpoints=tmp_path, every=0)
    newest = sorted(tmp_path.glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert weights(method().fit(digits.train, checkpoints=tmp_path, every=0)) == whole


@pytest.mark.parametrize(
    "other, seed, words",
    [
        ({"bits": 24}, 0, "its bits is 12, this run's is 24"),
        ({}, 1, "its seed is 0, this run's is 1"),
        ({"lr": 0.5}, 0, "its settings is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(other, seed, words, digits, tmp_path):
    method().fit(digits.train, checkpoints=tmp_path)
    with pytest.raises(InputError, match=f"is of another run: {words}"):
        method(**other).fit(digits.train, checkpoints=tmp_path, seed=seed)


def test_a_checkpoint_of_other_labels_or_another_method_is_refused(digits, tmp_path):
    method().fit(digits.train, checkpoints=tmp_path)
    with pytest.raises(InputError, match="its labels is"):
        method().fit(digits.tuning().train, checkpoints=tmp_path)
    kept = Checkpoints(tmp_path, {"method": "csdh"})
    with pytest.raises(
        InputError, match="is of another run: its method is mu_liu, this run's is csdh"
    ):
        kept.load()


def test_another_environment_is_told(digits, whole, tmp_path, monkeypatch):
    method().fit(digits.train, checkpoints=tmp_path)
    now = checkpoints.environment()
    assert set(now) == {"torch", "processor", "threads", "CUDA device"} and all(now.values())
    monkeypatch.setattr(checkpoints, "environment", lambda: now | {"threads": 99})
    with pytest.warns(
        UserWarning,
        match=rf"resumed with threads 99, begun with {now['threads']}: results may differ",
    ):
        assert weights(method().fit(digits.train, checkpoints=tmp_path)) == whole


def test_time_is_kept_across_a_stop_and_from_older_checkpoints(digits, tmp_path, monkeypatch):
    """Seconds are added to what the open epoch has taken;
    an older version counted the clock only, and said less.
    """
    stop_after(monkeypatch, 6, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(checkpoints.Interrupted):
        method().fit(digits.train, checkpoints=tmp_path, every=0)
    newest = sorted(tmp_path.iterdir())[-1]
    tensors, facts = unpack(newest.read_bytes(), "")
    for old in (False, True):
        altered = facts | {"spent": 100.0 if old else [100.0, 200.0]}
        if old:
            altered["environment"] = {
                key: v for key, v in facts["environment"].items() if key != "processor"
            }
        newest.write_bytes(pack(tensors, altered))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = method().fit(digits.train, checkpoints=tmp_path).history
        (line,) = (line for line in history if line["seconds"] > 99)
        assert line["cpu_seconds"] > (99 if old else 199)
        for file in tmp_path.iterdir():
            if file != newest:
                file.unlink()


# ---- what is sound by its digest, but not all that is saved


@pytest.fixture(params=["sgd", "adamw", "rmsprop", "end"])
def sound(request, digits, tmp_path, monkeypatch):
    """A training about to be taken up, and its checkpoint: in the second phase, or at the end;
    its file.
    """
    how = {"optimiser": "sgd" if request.param == "end" else request.param, "frozen": False}
    with monkeypatch.context() as patch:
        if request.param != "end":
            stop_after(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(checkpoints.Interrupted):
                method(**how).fit(digits.train, checkpoints=tmp_path)
        else:
            method(**how).fit(digits.train, checkpoints=tmp_path)
    loops = []
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "run", lambda one: loops.append(one) or [])
        method(**how).fit(digits.train)
    (file,) = tmp_path.iterdir()
    return loops[0], *unpack(file.read_bytes(), ""), file


def test_a_checkpoint_holds_just_what_is_saved_at_its_position(sound, monkeypatch):
    """Each tensor taken away, of another shape, of another type, and one too many."""
    under_way, tensors, facts, _ = sound
    phase, _, step = facts["position"]
    if step:  # a step of the optimiser says what it keeps: the same each time, so one will do
        kept = snapshots.state_after_a_step(under_way.phases[phase], facts["unmoved"])
        monkeypatch.setattr(snapshots, "state_after_a_step", lambda *_: kept)
    under_way.check_snapshot(tensors, facts)
    assert any(name.startswith("optimiser/") for name in tensors) == (facts["position"][2] > 0)
    wrong = [tensors | {"more": torch.zeros(1)}, tensors | {"optimiser/0/more": torch.zeros(1)}]
    for name, tensor in tensors.items():
        wrong.append({key: value for key, value in tensors.items() if key != name})
        wrong.append(tensors | {name: torch.cat([tensor.flatten()] * 2)})
        wrong.append(tensors | {name: tensor.to(torch.int16)})
    wrong.append({key: value for key, value in tensors.items() if not key.startswith("optimiser/")})
    for altered in wrong[:-1] if facts["position"][2] == 0 else wrong:
        with pytest.raises(InputError, match="expected, got"):
            under_way.check_snapshot(altered, facts)


def test_a_checkpoint_says_just_what_is_said_at_its_position(sound):
    under_way, tensors, facts, _ = sound
    (phase, epoch, step), history = facts["position"], facts["history"]
    positions = [
        [phase],
        [phase, epoch, step, 0],
        [phase, epoch, -1],
        [-1, epoch, step],
        [phase + 1, epoch, step],
    ]
    positions += [
        [phase, epoch + 1, step],
        [phase, epoch, step + 99],
        [phase, epoch, float(step)],
        "here",
        None,
    ]
    positions += [[1, 0, 0], [0, epoch, step], [True, epoch, step], [phase, epoch, str(step)]]
    lines = [
        history[:-1],
        [*history, history[-1]],
        history[::-1],
        [{}],
        None,
        3,
        [history[0] | {"loss": None}],
    ]
    lines += [
        [line | {"seconds": math.nan} for line in history],
        [line | {"phase": "x"} for line in history],
    ]
    wrong = [facts | {"position": position} for position in positions]
    wrong += [facts | {"spent": seconds} for seconds in (None, "x", [1, 2, 3], {})]
    wrong += [facts | {"history": line} for line in lines if line != history]
    wrong += [
        {k: v for k, v in facts.items() if k != key} for key in ("position", "history", "spent")
    ]
    everything = list(range(len(under_way.phases[0].trained())))
    wrong += [facts | {"unmoved": x} for x in ([0], everything, None, 3)] if step else []
    for altered in wrong:
        with pytest.raises(InputError, match="expected"):
            under_way.check_snapshot(tensors, altered)


GONE = [
    "optimiser/",
    "optimiser/0/",
    "generator/",
    "losses",
    "weights/",
    "identity",
    "environment",
    "history",
]


@pytest.mark.parametrize("gone", GONE)
def test_a_checkpoint_that_lacks_something_is_told_and_not_used(
    gone, digits, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(checkpoints.Interrupted):
            method().fit(digits.train, checkpoints=tmp_path)
    (file,) = tmp_path.iterdir()
    tensors, facts = (
        {k: v for k, v in one.items() if not k.startswith(gone)}
        for one in unpack(file.read_bytes(), "")
    )
    file.write_bytes(pack(tensors, facts))
    with pytest.warns(
        UserWarning, match=r"checkpoint .* is not complete: .*; the one before it is used"
    ):
        assert weights(method().fit(digits.train, checkpoints=tmp_path)) == whole


def test_weights_that_no_loss_uses_have_no_state(digits, tmp_path, monkeypatch):
    """Their optimiser keeps nothing of them; the checkpoint says so, and is taken up."""

    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.used = torch.nn.Linear(2, 2), torch.nn.Linear(64, 1)

        def forward(self, x):
            return self.used(x)

    def run(folder, stop=False):
        torch.manual_seed(0)
        module = Idle()
        phase = loop.Phase(
            "one", module, lambda batch: module(batch.images.flatten(1)).square().mean(), 2, 0.01
        )
        view = View(8, 8, 1, (0.5,), (0.5,))
        batches = Batches(
            digits.train.images[:40], digits.train.labels[:40], torch.device("cpu"), view
        )
        with monkeypatch.context() as patch:
            if stop:
                stop_after(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
            loop.train(
                [phase], batches, batch_size=10, checkpoints=Checkpoints(tmp_path / folder, {})
            )
        return pack(module.state_dict(), {})

    with pytest.raises(checkpoints.Interrupted):
        run("stopped", stop=True)
    (file,) = (tmp_path / "stopped").iterdir()
    assert unpack(file.read_bytes(), "")[1]["unmoved"] == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("stopped") == run("whole")


def broken_evaluation(tmp_path, monkeypatch):
    """A run that has trained and then failed."""
    with monkeypatch.context() as patch:
        patch.setattr(
            experiments.metrics,
            "evaluate",
            lambda *a, **k: (_ for _ in ()).throw(KeyError("broken")),
        )
        with pytest.raises(KeyError):
            experiments.run("mu_liu", "digits", 12, root=tmp_path, save=True, **SETTINGS)
    assert (
        len(list((tmp_path / ".checkpoints").rglob("*.safetensors"))) == 1
        and records.load(tmp_path) == []
    )


@pytest.mark.parametrize("resume, steps", [(True, 0), (False, STEPS)])
def test_a_run_leaves_no_checkpoints_behind(resume, steps, tmp_path, monkeypatch):
    """Ended while it encodes, it does not train again unless asked to;
    with the record, the checkpoints go.
    """
    broken_evaluation(tmp_path, monkeypatch)
    done = stop_after(monkeypatch, 0, None)
    record = experiments.run(
        "mu_liu", "digits", 12, root=tmp_path, save=True, resume=resume, **SETTINGS
    )
    assert len(done) == steps and len(record.history) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What came of runs that were killed, by optimiser, and where."""
    folder, script = tmp_path_factory.mktemp("runs"), Path(__file__).with_name("killed_runs.py")
    done = python(script, folder, "10", "sgd", "adamw", env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


@pytest.mark.process
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(optimiser, killed):
    """20 deaths by SIGKILL in all:
    in both phases, in the writing of checkpoints, and at any time.
    """
    outcome, folder = killed[0][optimiser], killed[1]
    assert outcome["killed"] == outcome["whole"] and len(outcome["whole"]["digest"]) == 64
    assert not list((folder / optimiser / "killed").glob(".*"))  # nothing half-written stays
    deaths = outcome["deaths"]
    assert len(deaths) == 10 and sum(".safetensors" in death for death in deaths) >= 2
    assert any("pre-training" in death for death in deaths) and "after some time" in deaths, deaths


@pytest.mark.process
def test_ctrl_c_on_the_command_line(tmp_path, short, start):
    """The words that are printed are a command that finishes the run."""
    words = short("run", tmp_path / "a", epochs=3, pretrain_epochs=400)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HASHLAB_PROGRESS": "lines"}
    process = start(*command(*words), stderr=PIPE, env=environment)
    assert process.stderr.readline().startswith("pre-training 1/400")
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 1
    assert (
        message.startswith("hashlab: pre-training stopped after step ")
        and "; go on with: hashlab run mu_liu digits" in message
    )
    again = message.split("go on with: hashlab ")[1].split()
    assert again == [*words, "--resume"]
    (file,) = (tmp_path / "a" / ".checkpoints").rglob("*.safetensors")
    assert unpack(file.read_bytes(), "it")[1]["position"][0] == 0
