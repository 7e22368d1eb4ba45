"""Pools, and images encoded by them: the same bytes from one process and from several, whatever is
killed; `test_cluster.py` does the same on Ray.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubling import Doubling, refuse
from PIL import Image
from processes import run, started, wait_until

from hashlab import grid, methods, records, search
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.methods import models
from hashlab.scale import pools, rays, shards, sources

# ---- pools


def outcomes(pool, tasks):
    """Task -> what came of it."""
    for task in tasks:
        wait_until(lambda: pool.room() > 0 or take(pool), "room")
        pool.begin(task)
    wait_until(lambda: len(taken(pool)) == len(tasks) or take(pool), "the last task")
    return taken(pool)


def taken(pool):
    if not hasattr(pool, "taken_here"):
        pool.taken_here = {}
    return pool.taken_here


def take(pool):
    taken(pool).update(pool.ended())


each_pool = pytest.mark.parametrize(
    "open_pool", [pools.Here, lambda make: pools.Processes(make, 2)], ids=["here", "processes"]
)


@each_pool
def test_each_task_comes_back_once_with_its_value_or_its_error(open_pool):
    with open_pool(Doubling) as pool:
        assert dict(pools.results(pool, range(7))) == {n: 2 * n for n in range(7)}
        came = outcomes(pool, [3, "fail", 5])
        assert pool.room() == (1 if open_pool is pools.Here else 2)
    assert (came[3], came[5]) == (pools.Outcome(6), pools.Outcome(10))
    assert isinstance(came["fail"].error, FloatingPointError)
    assert str(came["fail"].error) == "as it was asked"


@each_pool
def test_the_first_error_ends_results(open_pool):
    with open_pool(Doubling) as pool, pytest.raises(FloatingPointError, match="as it was asked"):
        list(pools.results(pool, ["fail", "fail", 1]))


@pytest.mark.process
def test_a_task_that_kills_its_process_is_tried_again_and_given_up_at_last(tmp_path):
    with pools.Processes(Doubling, 2) as pool:
        came = outcomes(pool, [tmp_path / "once", 1, "die", "odd"])
    assert came[tmp_path / "once"] == pools.Outcome("survived") and came[1].value == 2
    assert isinstance(came["die"].error, pools.Lost)
    assert (type(came["odd"].error), str(came["odd"].error)) == (RuntimeError, "Odd: 1 and 2")


def test_a_process_that_died_while_it_was_idle_is_replaced():
    with pools.Processes(Doubling, 1) as pool:
        (before,) = outcomes(pool, ["who"]).values()
        os.kill(before.value, signal.SIGKILL)
        taken(pool).clear()
        (after,) = outcomes(pool, ["who"]).values()
    assert before.value != after.value != os.getpid()


def test_why_a_process_cannot_work_is_what_comes_of_every_task():
    with pools.Processes(refuse, 1) as pool:
        for outcome in outcomes(pool, [1, 2]).values():
            assert isinstance(outcome.error, InputError) and "no bits" in str(outcome.error)


DRIVER = """
import sys, time
sys.path.insert(0, {folder!r})
from doubling import Doubling
from hashlab.scale import pools
if __name__ == "__main__":
    pool = pools.Processes(Doubling, 1)
    ((task, outcome),) = pools.results(pool, ["who"])
    print(outcome, flush=True)
    time.sleep(600)
"""


def gone(process):
    """Whether a process has ended, perhaps with nobody left who asks for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(folder=str(Path(__file__).parent)))
    with started([sys.executable, str(script)], stdout=subprocess.PIPE) as driver:
        child = int(driver.stdout.readline())
        assert not gone(child)
        driver.kill()
        wait_until(lambda: gone(child), "the end of the child")


# ---- a grid by a pool

GRID = """
title = "A few runs"
dataset = "digits"
bits = [8, 12]
seeds = [0, 1]
rows = [{ method = "lsh" }]
"""


@pytest.fixture
def written(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path / "grid.toml"


class Losing(pools.Here):
    """Loses the first try of every task, and each try of one."""

    def __init__(self, make, always=""):
        super().__init__(make)
        self.always = always
        self.tries = []

    def _finished(self, seconds):
        ticket = self._next
        if ticket is None:
            return []
        self.tries.append(ticket.task.name)
        if ticket.lost and str(ticket.task) != self.always:
            return super()._finished(seconds)
        self._next = None
        return [(ticket, pools.Outcome(error=pools.Lost("its process was killed")))]


@pytest.mark.parametrize("share", [True, False])
def test_a_run_that_got_lost_is_done_again_and_its_record_is_kept_once(share, written, tmp_path):
    """Also where the records come back as bytes, from a folder that the driver does not see."""
    root = tmp_path / "r"
    pool = Losing(lambda: grid.Doer(root if share else None, "cpu"), "lsh, 8 bits, seed 1")
    done = list(grid.Worker(grid.read(written), root, pool=pool).work())
    assert sorted(pool.tries.count(name) for name in set(pool.tries)) == [2, 2, 2, pools.TRIES]
    failed = [one for one in done if one.error]
    assert [str(one.job) for one in failed] == ["lsh, 8 bits, seed 1"]
    assert isinstance(failed[0].error, pools.Lost)
    kept = records.load(root)
    assert len(kept) == 3 and all(records.verify(record) == [] for record in kept)
    names = {file.suffix for file in root.rglob("*") if file.is_file()}
    assert names == {".json", ".npz"} and not (root / ".grid").exists()
    assert [one.left for one in done] == [3, 2, 1, 0]


@pytest.mark.process
def test_a_pool_whose_processes_cannot_work_ends_the_grid(written, tmp_path):
    with pools.Processes(refuse, 1) as pool, pytest.raises(InputError, match="no bits"):
        list(grid.Worker(grid.read(written), tmp_path / "r", pool=pool).work())
    assert not list(tmp_path.glob("r/**/*.json"))


def test_a_record_that_comes_back_is_kept_whole_or_refused(written, tmp_path):
    made = tmp_path / "made"
    list(grid.Worker(grid.read(written), made).work())
    record = records.load(made)[0]
    contents = records.stored(record)
    assert list(contents)[-1] == record.path.name
    kept = records.keep(contents, "digits", tmp_path / "r")
    before = kept.path.stat().st_mtime_ns
    assert kept == record and records.keep(contents, "digits", tmp_path / "r") == record
    assert kept.path.stat().st_mtime_ns == before  # it was not written again
    codes, own = contents
    for wrong in (
        {codes: contents[codes][:-1], own: contents[own]},
        {own: contents[own]},
        {codes: contents[codes], own: contents[own].replace(b'"seed": 0', b'"seed": 7')},
        {codes: contents[codes], own: b"{"},
        {codes: contents[codes], "lsh-9b-s0-0.json": contents[own]},
    ):
        with pytest.raises(InputError):
            records.keep(wrong, "digits", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_that_a_machine_does_not_see_is_named(tmp_path):
    with grid.shared(tmp_path / "r") as place:
        grid.Doer(place.folder, "cpu", place.mark)
        mark = place.mark
    assert not mark.exists() and not mark.parent.exists()
    with pytest.raises(
        InputError, match=r"not seen from here, .* --shared FOLDER, or --shared none"
    ):
        grid.Doer(tmp_path / "r", "cpu", mark)
    with grid.shared(tmp_path / "r", Path("none")) as place:
        assert place == (None, None)
    with (
        pytest.raises(InputError, match=r"there is no folder .*gone: one that all machines see"),
        grid.shared(tmp_path / "r", tmp_path / "gone"),
    ):
        pass
    assert not (tmp_path / "gone").exists()


# ---- addresses of images


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    method = methods.create("itq", 12).fit(digits.train)
    return method.save(tmp_path_factory.mktemp("models") / "model")


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def draw(folder, digits, count=40):
    """Digits as PNG files in folders of their labels, one of them broken."""
    for number, image in enumerate(digits.query.images[:count]):
        file = Path(folder) / f"{digits.query.labels[number]}" / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image)[: 50 if number == 7 else None])
    return folder


@pytest.fixture
def folder(tmp_path, digits):
    return draw(tmp_path / "images", digits)


def many(folder, times):
    """A list that names the images of a folder several times, each time by other names."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    copies = ["./" * copy + name for copy in range(times) for name in names]
    (folder / "many.txt").write_text("\n".join(copies))
    return folder / "many.txt"


def of(*given):
    return sources.images(given)


def test_a_folder_is_the_same_on_a_disk_and_in_a_store(folder):
    (folder / "notes.md").touch()
    (folder / ".hidden.png").touch()
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/photos", recursive=True)
    local, store = of(folder), of("memory://photos")
    assert local.names == store.names == of(f"file://{folder}").names
    assert local.labels == store.labels and set(local.labels) == set("0123456789")
    assert local.passed == store.passed == {".md": 1, "hidden": 1}
    assert local.digest() == store.digest()
    assert local.seen == [str(folder)] and store.seen == []
    for one, two in zip(local.addresses, store.addresses, strict=True):
        assert Path(one).read_bytes() == sources.content(two)


def test_lists_name_images_beside_them_and_elsewhere(folder, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/other/a.png", b"one")
    names = ["1/001.png", str(folder / "x.png"), "memory://other/a.png"]
    (folder / "list.txt").write_text("\n".join(names) + "\n\n")
    pq.write_table(pa.table({"path": names, "label": [1, None, 3]}), folder / "list.parquet")
    addresses = [str(folder / "1/001.png"), str(folder / "x.png"), "memory://other/a.png"]
    listed, columns = of(folder / "list.txt"), of(folder / "list.parquet")
    assert listed.names == columns.names == names
    assert listed.addresses == columns.addresses == addresses
    assert (listed.labels, columns.labels) == ([None] * 3, [1, None, 3])
    memory.put(str(folder / "list.parquet"), "/lists/list.parquet")
    assert of("memory://lists/list.parquet").addresses[0] == "memory://lists/1/001.png"
    with pytest.raises(InputError, match=r"different names are expected, got 1/001\.png twice"):
        of(folder / "list.txt", folder / "list.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"no", "no Parquet file"),
        ("b.parquet", {"file": ["x"]}, "a column `path` of text is expected"),
        ("c.parquet", {"path": [1]}, "a column `path` of text is expected"),
        ("d.parquet", {"path": ["x"], "label": [1.5]}, "must be text or whole numbers, got double"),
        ("e.txt", b"\xff", "not a text file"),
        ("f.txt", b"\n", "one image at least"),
        ("nothing.txt", None, "No such file"),
        ("nothing", None, "is not a folder"),
        ("memory://nowhere", None, "holds no images"),
        ("nonsense://x", None, "cannot be opened here"),
    ],
)
def test_sources_that_are_none_say_so(name, content, message, tmp_path):
    source = name if "://" in name else tmp_path / name
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        pq.write_table(pa.table(content), source)
    with pytest.raises(InputError, match=message):
        of(source)


# ---- shards


def state(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def encode(model, given, folder, *more):
    return main(["encode", str(model), *map(str, given), "-o", str(folder), *map(str, more)])


@pytest.fixture
def small(monkeypatch):
    """Blocks of 8 images, so that a few make several shards."""
    monkeypatch.setattr(models, "BLOCK", 8)


def test_shards_hold_the_codes_of_the_local_command(model, folder, tmp_path, capsys, small):
    assert encode(model, [folder], tmp_path / "c.npz", "--skip-broken") == 0
    assert encode(model, [folder], tmp_path / "s", "--on", "local", "--shard", 16) == 0
    said = capsys.readouterr()
    assert "/007.png: the image is damaged" in said.err.splitlines()[-1]
    assert "39 images, 12 bits each; 1 skipped" in said.out.splitlines()[-1]
    with np.load(tmp_path / "c.npz") as local:
        names, codes = local["names"].tolist(), local["codes"]
    parts = list(shards.read(tmp_path / "s"))
    assert sorted(len(part.names) for part in parts) == [8, 15, 16]
    assert [name for part in parts for name in part.names] == names
    assert np.array_equal(np.concatenate([part.codes for part in parts]), codes)
    assert [part.labels[0] for part in parts] == [part.names[0].split("/")[0] for part in parts]
    table = pq.read_table(shards.shard_file(tmp_path / "s", 0))
    assert table.schema.names == ["path", "code", "label", "error"]
    assert table.schema.field("code").type == pa.binary(2)
    ((name, reason),) = shards.errors(tmp_path / "s")
    assert name.endswith("/007.png") and reason


def test_a_store_gives_the_same_shards_and_what_is_there_is_not_made_again(
    model, folder, tmp_path, small
):
    whole = {"size": 8}
    shards.encode(model, [folder], tmp_path / "s", **whole)
    first = state(tmp_path / "s")
    assert len(first) == 6
    fsspec.filesystem("memory").put(str(folder), "/same", recursive=True)
    shards.encode(model, ["memory://same"], tmp_path / "t", **whole)
    assert state(tmp_path / "t") == first
    lost = shards.shard_file(tmp_path / "s", 2)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    lost.unlink()
    shards.encode(model, [folder], tmp_path / "s", **whole)
    assert state(tmp_path / "s") == first
    made = [path for path, before in times.items() if path.stat().st_mtime_ns != before]
    assert made == [lost]


def test_a_broken_store_is_named_and_other_things_are_not_overwritten(
    model, folder, digits, tmp_path, capsys, small
):
    assert encode(model, [folder], tmp_path / "s", "--on", "local", "--shard", 16) == 0
    before = state(tmp_path / "s")
    methods.create("lsh", 12).fit(digits.train).save(tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    more = draw(tmp_path / "more", digits, 41)
    cases = [
        (tmp_path / "other", folder, tmp_path / "s", 16, "holds shards of another model"),
        (model, more, tmp_path / "s", 16, "holds shards of other images (40) than these (41)"),
        (model, folder, tmp_path / "s", 8, "holds shards of 16 images, not 8"),
        (model, folder, tmp_path / "full", 16, "holds other things than shards (mine.txt"),
        (model, folder, tmp_path / "new", 12, "a multiple of 8 images, got 12"),
        (model, "memory://nothing", tmp_path / "new", 16, "holds no images"),
    ]
    capsys.readouterr()
    for with_, images, target, size, message in cases:
        assert encode(with_, [images], target, "--on", "local", "--shard", size) == 2, message
        assert message in capsys.readouterr().err
    assert state(tmp_path / "s") == before and not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_machine_that_does_not_see_the_images_ends_it(model, folder):
    contents = {name: (model / name).read_bytes() for name in shards.FILES}
    with pytest.raises(InputError, match="is not seen from here"):
        shards.Encoder(contents, "cpu", [str(folder / "elsewhere")], "string")


def test_a_shard_that_is_damaged_or_missing_is_named(model, folder, tmp_path, small):
    shards.encode(model, [folder], tmp_path / "s", size=8)
    file = shards.shard_file(tmp_path / "s", 1)
    sound = file.read_bytes()
    for content in (sound[:-9], b"", sound[:40] + bytes([sound[40] ^ 255]) + sound[41:]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"shard-00001\.parquet is no shard, or is damaged"):
            list(shards.read(tmp_path / "s"))
    file.unlink()
    with pytest.raises(InputError, match="has 4 of 5 shards: run `hashlab encode` again"):
        list(shards.read(tmp_path / "s"))
    shards.encode(model, [folder], tmp_path / "s", size=8)
    assert file.read_bytes() == sound
    summary = tmp_path / "s" / "shards.json"
    summary.write_text(summary.read_text().replace('"images": 40', '"images": 37'))
    with pytest.raises(
        InputError, match=r"shard-00004\.parquet has 8 images, but 5 by shards.json"
    ):
        list(shards.read(tmp_path / "s"))
    with pytest.raises(InputError, match=r"holds no shards: no shards\.json, no \*\.parquet"):
        list(shards.read(tmp_path))


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    """Also where there are so many that numbers have another digit."""
    summary = {"model": {"sha256": "0"}, "bits": 8, "images": 3, "size": 1}
    (tmp_path / "shards.json").write_text(json.dumps(summary))
    for number in (100_000, 99_999, 7):
        columns = {"path": [str(number)], "code": pa.array([b"a"], pa.binary(1))}
        pq.write_table(pa.table(columns), shards.shard_file(tmp_path, number))
    assert [part.names for part in shards.read(tmp_path)] == [["7"], ["99999"], ["100000"]]


def test_no_thread_of_arrow_holds_what_python_owns(monkeypatch, tmp_path):
    """Where Arrow reads a file of Python's ahead, one of its threads may give it back when Python has
    ended, which aborts the command."""
    usual, given = pq.ParquetFile.__init__, []

    def opened(self, source, **words):
        given.append((type(source), words.get("pre_buffer", False)))
        usual(self, source, **words)

    monkeypatch.setattr(pq.ParquetFile, "__init__", opened)
    table = pa.table({"path": ["a.png"], "code": pa.array([b"x"], pa.binary(1))})
    table = table.replace_schema_metadata({"hashlab.bits": "8", "hashlab.model": "none"})
    pq.write_table(table, tmp_path / "shard-00000.parquet")
    assert sources._columns(str(tmp_path / "shard-00000.parquet"))[0] == ["a.png"]
    assert [part.names for part in shards.read(tmp_path)] == [["a.png"]]
    assert len(given) >= 3 and set(given) == {(pa.BufferReader, False)}


def test_an_index_of_shards_is_one_of_the_folder(model, folder, tmp_path, small):
    """The commands of both ways, with a broken image."""
    assert encode(model, [folder], tmp_path / "x.shards", "--on", "local", "--shard", 16) == 0
    for given, words, name in (
        (tmp_path / "x.shards", ["--shards"], "y.index"),
        (folder, ["--skip-broken"], "z.index"),
    ):
        place = ["-o", str(tmp_path / name), *words]
        assert main(["index", str(model), str(given), *place]) == 0
    loaded, direct = (search.open_index(tmp_path / name) for name in ("y.index", "z.index"))
    assert loaded.ids.tolist() == direct.ids.tolist() and len(loaded) == 39
    assert np.array_equal(loaded.codes(), direct.codes())
    assert [facts["label"] for facts in loaded.meta()] == [
        facts["label"] for facts in direct.meta()
    ]


@pytest.mark.process
def test_encoding_goes_on_after_its_driver_was_killed(model, folder, tmp_path):
    """With processes that are killed with it, at whatever moment that is."""
    listed = many(folder, 26)
    words = [sys.executable, "-m", "hashlab.cli", "encode", str(model), str(listed), "--on", "local",
             "--shard", "256", "--processes", "2", "-o", str(tmp_path / "s")]  # fmt: skip
    with started(words) as killed:
        wait_until(lambda: any((tmp_path / "s").glob("shard-*")), "a shard")
        killed.kill()
    shards.encode(model, [listed], tmp_path / "s", size=256)
    shards.encode(model, [listed], tmp_path / "whole", size=256)
    assert state(tmp_path / "s") == state(tmp_path / "whole")


# ---- words, and addresses of clusters


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "moon"], "--on must be local, ray or ray://HOST:PORT, got 'moon'"),
        (["--on", "ray", "--processes", "2"], "--processes are those of this machine"),
        (["--on", "local", "--cpus", "2"], "--cpus and --gpus are shares of a cluster"),
        (["--on", "ray", "--cpus", "0"], "--cpus must be 1 or more, got 0"),
        (["--on", "ray", "--gpus", "0", "--device", "cuda"], "--gpus must be more than 0, got 0"),
        (["--on", "ray", "--gpus", "1"], "--gpus is a share of GPUs: it goes with --device cuda"),
        (["--on", "ray://nowhere"], "ray://HOST:PORT is expected, got ray://nowhere"),
        (["--on", "ray://127.0.0.1:1"], "ray://127.0.0.1:1 does not answer"),
    ],
)
def test_words_that_cannot_be(words, message, written, model, folder, tmp_path, capsys):
    places = [tmp_path / "r", tmp_path / "s"]
    assert main(["grid", str(written), "--root", str(places[0]), *words]) == 2
    assert message in capsys.readouterr().err
    assert encode(model, [folder], places[1], *words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not any(list(place.rglob("*.*")) for place in places)


def test_words_of_shards_need_a_place(model, folder, tmp_path, capsys):
    assert encode(model, [folder], tmp_path / "c.npz", "--shard", 256) == 2
    assert "--shard goes with --on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        ("ray", ["--on", "ray"], "--on ray needs Ray: pip install 'hashlab[scale]'"),
        ("pyarrow", ["--on", "local"], "shards need pyarrow: pip install 'hashlab[scale]'"),
    ],
)
def test_what_is_not_installed(
    package, words, message, model, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    assert encode(model, [folder], tmp_path / "s", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("", "no Ray cluster of the versions of Ray and Python here (RuntimeError)"),
        ("3.12\nadvice", "no Ray cluster of the versions of Ray and Python here (3.12)"),
        (
            f"{rays.NOT_BEGUN}:\nTraceback …\nTimeoutError: 30 s\n",
            "the cluster began nothing for this process (TimeoutError: 30 s)",
        ),
    ],
)
def test_what_ray_says_of_a_connection_is_one_sentence(words, sentence):
    assert rays._no_cluster("ray://a:1", RuntimeError(words)) == f"ray://a:1: {sentence}"


def test_somebody_who_answers_with_nothing_is_no_cluster(monkeypatch):
    monkeypatch.setattr(rays, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"ray://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address} does not answer: no answer within"):
            rays.check_answers(address)


def test_a_cluster_that_this_machine_belonged_to_and_that_has_gone_is_named(monkeypatch):
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda _: "127.0.0.1:1")
    with pytest.raises(InputError, match=r"^127\.0\.0\.1:1 does not answer: "):
        rays.connect("")


@pytest.mark.process
def test_the_package_is_imported_without_ray():
    code = (
        "import sys, hashlab.grid, hashlab.scale.shards, hashlab.scale.rays, hashlab.cli; "
        "print([name for name in ('ray', 'pyarrow', 'fsspec') if name in sys.modules])"
    )
    said = run(sys.executable, "-c", code).stdout.strip()
    assert "ray" not in said.replace("pyarrow", "") and "pyarrow" not in said
