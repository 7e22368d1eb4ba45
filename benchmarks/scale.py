"""Beyond one process: what do workers, a cluster, shards and a server cost, and bring? All in one run.

    python benchmarks/scale.py                           grid, encoding, and 1,000,000 codes
    python benchmarks/scale.py --parts search --codes 10000000       one part; 10,000,000 codes
    python benchmarks/scale.py --most 100000             Milvus Lite for no more codes than that
    python benchmarks/scale.py -o results/speed/scale.json           figures as JSON, too

`grid`: 24 small runs by a plain loop, by worker processes, and on a Ray cluster that is started for
it. `encode`: a folder of photographs, likewise. Both say when the first result came, which is what
starting costs, and the pace from there on. Every way has to give the same codes. Each worker
computes on one thread.

`search`: codes are random, of 64 bits: nearly every k-th neighbour is tied, which is what costs
Milvus a second question. Every index has to give the same neighbours. Each time is the best of twenty
searches, those of all indexes in turn, because what else the machine does can only add to it.
Memory is what the process has grown by, its own and what it has mapped from files; of Milvus Lite it
is its process. Ratios compare times of this run only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from encode import model, photographs
from index_memory import resident

from hashlab import experiments, files, grid, scale, search
from hashlab.chapters.figures.search import best_ms
from hashlab.scale import pools, shards

PARTS = ("grid", "encode", "search")
BITS = 64
QUERIES = ((1, 10), (1, 100), (100, 10))  # queries at once, and k
BLOCK = 100_000  # codes that are added at once
REPEATS = 20
SHARD = 256  # photographs
LOCAL, LITE = "local", "Milvus Lite"
NAME = "photos/2024/{:012d}.jpg"  # an id that is a path
EPOCHS = 40
RUNS = f"""
title = "Small runs"
dataset = "digits"
bits = [8, 12, 16, 24]
seeds = [0, 1, 2, 3, 4, 5]

[[rows]]
method = "dpsh"
settings.epochs = {EPOCHS}
"""

Figures = list[dict[str, Any]]
Way = Callable[[Path], object]  # works in a folder
OpenPool = Callable[[Callable[[], Any]], pools.Pool]


# ---- workers


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ways_to_work(ray: bool) -> dict[str, OpenPool]:
    """Pools of this machine, and one of the cluster that $RAY_ADDRESS names."""
    ways: dict[str, OpenPool] = {
        f"{count} worker{'s' * (count > 1)}": partial(pools.Processes, count=count)
        for count in (1, 2)
    }
    if ray:
        ways[f"Ray, {cores()} CPUs"] = partial(scale.open_pool, scale.RAY)
    return ways


def timed(ways: dict[str, Way], count: int, what: str, pattern: str) -> Figures:
    """Seconds of each way, and until its first file; all have to write the same."""
    figures: Figures = []
    before = None
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            clock, start = time.time(), time.perf_counter()
            way(Path(folder))
            seconds = time.perf_counter() - start
            written = sorted(Path(folder).rglob(pattern))
            first = min(file.stat().st_mtime for file in written) - clock
            made = [(file.name, file.read_bytes()) for file in written]
        before = made if before is None else before
        assert made == before, f"{name} gives other codes"
        ratio = figures[0]["seconds"] / seconds if figures else 1.0
        figures.append({"way": name, "count": count, "files": len(written)})
        figures[-1] |= {"first": first, "seconds": seconds, "ratio": ratio}
        print(
            f"  {name}: {seconds:.1f} s, the first after {first:.1f} s; "
            f"{count / seconds:.2f} {what} a second, {ratio:.2f} times as many as {figures[0]['way']}",
            flush=True,
        )
    return figures


def runs(ray: bool, folder: Path) -> Figures:
    """A grid, by a plain loop and by workers."""
    files.write(folder / "runs.toml", RUNS.encode())
    rows = grid.read(folder / "runs.toml")
    jobs = [(bits, seed) for bits in (8, 12, 16, 24) for seed in range(6)]
    print(f"a grid of {len(jobs)} runs", flush=True)

    def loop(root: Path) -> None:
        for bits, seed in jobs:
            experiments.run(
                "dpsh", "digits", bits, seed, device="cpu", root=root, save=True, epochs=EPOCHS
            )

    def by(open_pool: OpenPool, root: Path) -> None:
        with grid.shared(root) as where:
            pool = open_pool(partial(grid.Doer, where.folder, "cpu", where.mark))
            for done in grid.Worker(rows, root, "cpu", pool=pool).work():
                assert done.error is None, done.error

    ways: dict[str, Way] = {"a plain loop": loop}
    ways |= {name: partial(by, pool) for name, pool in ways_to_work(ray).items()}
    return timed(ways, len(jobs), "runs", "*.npz")


def encoding(ray: bool, folder: Path, count: int) -> Figures:
    """Shards of a folder of photographs, by one process and by workers."""
    print(f"{count:,} photographs, MobileNetV2 at 128 px", flush=True)
    model().save(folder / "model")
    (folder / "photos").mkdir()
    photographs(folder / "photos", count)
    words = [folder / "model", [folder / "photos"]]

    def by(open_pool: OpenPool, out: Path) -> None:
        shards.encode(*words, out, size=SHARD, device="cpu", open_pool=open_pool)

    ways: dict[str, Way] = {"this process": partial(by, pools.Here)}
    ways |= {name: partial(by, pool) for name, pool in ways_to_work(ray).items()}
    return timed(ways, count, "photographs", "*.parquet")


@contextmanager
def cluster(wanted: bool) -> Iterator[float | None]:
    """A Ray cluster of this machine alone while the block lasts; gives the seconds that it took to
    start, None where it did not.
    """
    if not wanted:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ExitStack() as stack:
        # a short name, for those of sockets must be short
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray"))
        words = ["start", "--head", f"--port={port}", f"--num-cpus={cores()}", "--block"]
        words += [f"--temp-dir={folder}", "--include-dashboard=false", "--disable-usage-stats"]
        words += ["--object-store-memory=100000000"]
        log = stack.enter_context(tempfile.NamedTemporaryFile())
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield started(head, Path(log.name), f"127.0.0.1:{port}")
        finally:
            os.environ.pop("RAY_ADDRESS", None)
            head.terminate()
            with suppress(subprocess.TimeoutExpired):
                head.wait(60)


def started(head: subprocess.Popen[bytes], log: Path, address: str) -> float | None:
    """Seconds until a cluster has started; None where it has not after two minutes."""
    start = time.perf_counter()
    while time.perf_counter() - start < 120 and head.poll() is None:
        if "runtime started" in log.read_text():
            os.environ["RAY_ADDRESS"] = address
            seconds = time.perf_counter() - start
            print(f"a Ray cluster of {cores()} CPUs started in {seconds:.0f} s", flush=True)
            return seconds
        time.sleep(0.1)
    print("Ray did not start here: it is left out", flush=True)
    return None


# ---- searching


def children() -> list[str]:
    """Processes that this one has started, among them Milvus Lite's."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [pid for task in tasks for pid in task.read_text().split()]


def memory_of(path: Path, parts: int | None) -> dict[str, int]:
    """What a new process grows by where it opens an index and searches it once."""
    script = Path(__file__).with_name("index_memory.py")
    words = [sys.executable, script, path, *([parts] if parts else [])]
    return json.loads(subprocess.check_output(list(map(str, words))))


def memory(grown: dict[str, int], items: int) -> dict[str, float]:
    """Bytes a code."""
    return {"own": grown["RssAnon"] / items, "mapped": grown["RssFile"] / items}


def in_milvus(address: str, packed: np.ndarray) -> Any:
    """Codes in a new collection of Milvus."""
    index = search.open_index(address, bits=BITS)
    for first in range(0, len(packed), BLOCK):
        block = packed[first : first + BLOCK]
        index.put(np.arange(first, first + len(block)), block)
    return index


def saved(path: Path, ids: Any, packed: np.ndarray) -> None:
    index = search.Index(BITS)
    index.add(ids, packed)
    index.save(path)


def told(figure: dict[str, Any]) -> None:
    seconds = f", filled in {figure['filled']:.1f} s" if "filled" in figure else ""
    print(
        f"  {figure['index']}, {figure['codes']:,} codes: bytes a code {figure['own']:.1f} of its own, "
        f"{figure['mapped']:.1f} mapped, {figure['disk']:.1f} on disk{seconds}",
        flush=True,
    )


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def local(folder: Path, packed: np.ndarray, shards: int) -> Figures:
    """What the index on disk takes: with numbers, with paths as ids, in shards."""
    items = len(packed)
    figures: Figures = []
    for name, text, parts in (
        (LOCAL, False, None),
        (f"{shards} shards", False, shards),
        ("local, paths as ids", True, None),
    ):
        path = folder / f"{items}{'-paths' * text}.index"
        start = time.perf_counter()
        if not path.exists():
            ids = [NAME.format(number) for number in range(items)] if text else np.arange(items)
            saved(path, ids, packed)
        filled = time.perf_counter() - start
        grown = memory_of(path, parts)
        figure = {"index": name, "codes": items, "disk": size(path) / items, "filled": filled}
        figures.append(figure | memory(grown, items))
        told(figures[-1])
    return figures


def searches(items: int, shards: int, most: int, folder: Path) -> dict[str, Figures]:
    """Memory and latency of one size, in every index; Milvus Lite where they are `most` at most."""
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (items, BITS // 8), np.uint8)
    query = rng.integers(0, 256, (max(count for count, _ in QUERIES), BITS // 8), np.uint8)
    print(f"{items:,} codes of {BITS} bits", flush=True)
    stored = local(folder, packed, shards)
    path = folder / f"{items}.index"
    indexes = {LOCAL: search.open_index(path)}
    indexes[f"{shards} shards"] = search.open_index(path, shards=shards)
    latencies = compared(indexes, query)
    if items > most:
        print(
            f"  Milvus Lite is left out: it takes long to fill with more than {most:,}", flush=True
        )
        return {"stored": stored, "latencies": latencies}
    file = folder / f"{items}.db"
    start = time.perf_counter()
    with in_milvus(f"milvus:{file}", packed) as lite:
        filled = time.perf_counter() - start
        lite.search(query[:1], 10)
        grown = memory(resident(server()), items)
        stored.append({"index": LITE, "codes": items, "disk": size(file) / items} | grown)
        stored[-1]["filled"] = filled
        told(stored[-1])
        others = compared({LOCAL: indexes[LOCAL], LITE: lite}, query)
        latencies += [figure for figure in others if figure["index"] == LITE]
    return {"stored": stored, "latencies": latencies}


def server() -> str:
    """The process of Milvus Lite."""
    names = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in children()}
    return next(pid for pid, name in names.items() if "milvus" in name)


def compared(indexes: dict[str, Any], queries: np.ndarray) -> Figures:
    """The same searches in every index: equal results, and times beside the local one's."""
    figures: Figures = []
    for count, k in QUERIES:
        query = queries[:count]
        exact = indexes[LOCAL].search(query, k)
        for name, index in indexes.items():
            results = zip(exact, index.search(query, k), strict=True)
            assert all(np.array_equal(a, b) for a, b in results), f"{name} finds others"
        works = {name: partial(index.search, query, k) for name, index in indexes.items()}
        took = best_ms(works, REPEATS)
        common = {"codes": len(indexes[LOCAL]), "queries": count, "k": k}
        for name, ms in took.items():
            figures.append(common | {"index": name, "ms": ms, "ratio": ms / took[LOCAL]})
        words = [f"{name} {ms:.2f} ms, ratio {ms / took[LOCAL]:.2f}" for name, ms in took.items()]
        print(f"  {count:3} queries, k = {k:3}: {'; '.join(words)}", flush=True)
    return figures


# ---- all of it


def machine() -> dict[str, Any]:
    """Where these figures are from, and what else it did when they were begun."""
    root = Path(__file__).resolve().parents[1]
    words = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": " ".join(["python benchmarks/scale.py", *sys.argv[1:]]),
        "commit": commit,
        "cores": cores(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {
            "python": platform.python_version(),
            "faiss": faiss.__version__,
            "torch": torch.__version__,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--codes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shards", type=int, default=cores())
    parser.add_argument(
        "--most",
        type=int,
        default=1_000_000,
        help="codes for Milvus Lite, which takes long to fill with more; 0: none",
    )
    parser.add_argument("--images", type=int, default=4096, help="to encode")
    parser.add_argument("--no-ray", action="store_true", help="start no Ray cluster")
    parser.add_argument(
        "-o", "--output", type=Path, help="a JSON file for the figures; other parts in it stay"
    )
    given = parser.parse_args()
    own = machine()
    print(f"# {own['command']}, at commit {own['commit']}; {own['cores']} cores, load")
    print(f"# {own['load']} at the start; {own['versions']}", flush=True)
    figures: dict[str, Any] = {"machine": {}}
    if given.output and given.output.exists():
        figures = json.loads(given.output.read_bytes())
    figures["machine"] |= dict.fromkeys(given.parts, own)
    os.environ["OMP_NUM_THREADS"] = "1"  # of workers
    torch.set_num_threads(1)
    for more in measured(given):
        figures |= more
        if given.output:
            files.write(given.output, (json.dumps(figures, indent=1) + "\n").encode())


def measured(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of part after part."""
    working = not {"grid", "encode"}.isdisjoint(given.parts)
    with tempfile.TemporaryDirectory() as name, cluster(working and not given.no_ray) as ray:
        if "grid" in given.parts:
            yield {"grid": runs(ray is not None, Path(name))}
        if "encode" in given.parts:
            yield {"encode": encoding(ray is not None, Path(name), given.images)}
    with tempfile.TemporaryDirectory() as name:
        sizes = given.codes if "search" in given.parts else []
        parts = [searches(n, given.shards, given.most, Path(name)) for n in sizes]
        yield {
            key: [figure for part in parts for figure in part[key]]
            for key in ("stored", "latencies")
            if parts
        }


if __name__ == "__main__":
    main()
