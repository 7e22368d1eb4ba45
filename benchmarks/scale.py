"""Beyond one process: what does an index cost where codes are many? All in one run.

    python benchmarks/scale.py                           1,000,000 codes: local, in shards, in Milvus Lite
    python benchmarks/scale.py --codes 10000000          10,000,000 codes, local and in shards
    python benchmarks/scale.py --codes 10000000 --most 10000000      in Milvus Lite, too: an hour to fill

Codes are random, of 64 bits: nearly every k-th neighbour is tied, which is what costs Milvus a second
question. Every index has to give the same neighbours. Each time is the best of a few searches, those
of all indexes in turn, because what else the machine does can only add to it; ratios compare times
of this run only. Memory is what the process has grown by, its own and what it has mapped from files;
of Milvus Lite it is its process, beside the size of its file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from hashlab import search
from hashlab.chapters.figures.search import best_ms

BITS = 64
QUERIES = ((1, 10), (1, 100), (100, 10))  # queries at once, and k
BLOCK = 100_000  # codes that are added at once


def resident(process: str = "self") -> dict[str, int]:
    """Bytes that a process has in memory: its own, and mapped from files; 0 where that is unknown."""
    fields = {"RssAnon": 0, "RssFile": 0}
    status = Path("/proc") / process / "status"
    for line in status.read_text().splitlines() if status.exists() else ():
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = 1024 * int(rest.split()[0])
    return fields


def children() -> list[str]:
    """Processes that this one has started, among them Milvus Lite's."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [pid for task in tasks for pid in task.read_text().split()]


def memory_of(path: Path, shards: int | None) -> dict[str, int]:
    """What a new process grows by where it opens an index and searches it once."""
    small = search.Index(BITS, shards=shards)
    small.add([0], np.zeros((1, BITS // 8), np.uint8))
    small.search(small.codes(), 1)  # loads FAISS
    before = resident()
    search.open_index(path, shards=shards).search(np.zeros((1, BITS // 8), np.uint8), 10)
    after = resident()
    return {key: after[key] - before[key] for key in before}


def told_memory(name: str, grown: dict[str, int], items: int) -> None:
    own, mapped = (grown[key] / items for key in ("RssAnon", "RssFile"))
    print(f"  {name}: {own:.1f} bytes a code of its own, {mapped:.1f} mapped from files")


def filled(address: str, packed: np.ndarray) -> Any:
    """Codes in a new collection of Milvus."""
    index = search.open_index(address, bits=BITS)
    start = time.perf_counter()
    for first in range(0, len(packed), BLOCK):
        block = packed[first : first + BLOCK]
        index.put(np.arange(first, first + len(block)), block)
    seconds = time.perf_counter() - start
    print(
        f"  Milvus Lite was filled in {seconds:.0f} s, {len(packed) / seconds:,.0f} codes a second"
    )
    return index


def searches(items: int, shards: int, most: int, folder: Path) -> None:
    """Latency and memory of one size, in every index."""
    print(f"{items:,} codes of {BITS} bits", flush=True)
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (items, BITS // 8), np.uint8)
    query = rng.integers(0, 256, (max(count for count, _ in QUERIES), BITS // 8), np.uint8)
    path = folder / f"{items}.index"
    whole = search.Index(BITS)
    whole.add(np.arange(items), packed)
    whole.save(path)
    del whole
    indexes: dict[str, Any] = {}
    for name, count in (("local", None), (f"{shards} shards", shards)):
        indexes[name] = search.open_index(path, shards=count)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            told_memory(name, pool.submit(memory_of, path, count).result(), items)
    if items <= most:
        file = folder / f"{items}.db"
        indexes["Milvus Lite"] = filled(f"milvus:{file}", packed)
        indexes["Milvus Lite"].search(query[:1], 10)
        server = next(
            pid for pid in children() if "milvus" in Path(f"/proc/{pid}/comm").read_text()
        )
        told_memory("Milvus Lite", resident(server), items)
        print(f"  Milvus Lite: {file.stat().st_size / items:.1f} bytes a code in its file")
    for count, k in QUERIES:
        compared(indexes, query[:count], k)
    if items <= most:
        indexes["Milvus Lite"].close()


def compared(indexes: dict[str, Any], query: np.ndarray, k: int) -> None:
    """The same search in every index: equal results, and times beside the local one's."""
    exact = indexes["local"].search(query, k)
    for index in indexes.values():
        assert all(np.array_equal(a, b) for a, b in zip(exact, index.search(query, k), strict=True))
    took = best_ms(
        {name: lambda index=index: index.search(query, k) for name, index in indexes.items()}, 5
    )
    words = [f"{name} {ms:.2f} ms, ratio {ms / took['local']:.2f}" for name, ms in took.items()]
    print(f"  {len(query):3} queries, k = {k:3}: {'; '.join(words)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most", type=int, default=1_000_000, help="codes for Milvus Lite")
    given = parser.parse_args()
    print(
        f"{faiss.omp_get_max_threads()} threads, FAISS {faiss.__version__}, NumPy {np.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for items in given.codes:
            searches(items, given.shards, given.most, Path(folder))


if __name__ == "__main__":
    main()
