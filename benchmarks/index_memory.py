"""What a process grows by where it opens an index and searches it once: a part of `scale.py`, by
itself because nothing else may be loaded.

    python benchmarks/index_memory.py INDEX [SHARDS]       prints JSON: bytes, own and mapped
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hashlab import search


def resident(process: str = "self") -> dict[str, int]:
    """Bytes that a process has in memory: its own, and mapped from files; 0 where that is unknown."""
    fields = {"RssAnon": 0, "RssFile": 0}
    status = Path("/proc") / process / "status"
    for line in status.read_text().splitlines() if status.exists() else ():
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = 1024 * int(rest.split()[0])
    return fields


def grown(path: Path, shards: int | None, bits: int = 64) -> dict[str, int]:
    """What this process grows by."""
    small = search.Index(bits, shards=shards)
    small.add([0], np.zeros((1, bits // 8), np.uint8))
    small.search(small.codes(), 1)  # loads FAISS
    before = resident()
    index = search.open_index(path, shards=shards)
    index.search(np.zeros((1, bits // 8), np.uint8), 10)
    after = resident()  # while the index is there
    assert len(index)
    return {key: after[key] - before[key] for key in before}


if __name__ == "__main__":
    parts = int(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(grown(Path(sys.argv[1]), parts)))
