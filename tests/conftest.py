"""What all tests share: the marker for real data, and one way for hypothesis to search."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run: a failure that is seen once is seen again.
hypothesis.settings.register_profile("hashlab", deadline=None, derandomize=True)
hypothesis.settings.load_profile("hashlab")


def missing_data(name: str) -> str | None:
    """Why the real data set `name` cannot be used, or None when its cache is there."""
    folder = Path(os.environ.get("HASHLAB_DATA") or ROOT / "data" / "cache") / name
    parts = [f"{split}_{kind}.npy" for split in ("train", "test") for kind in ("images", "labels")]
    gone = [part for part in parts if not (folder / part).is_file()]
    return f"no {', '.join(gone)} in {folder}: fetch it with `hashlab data fetch {name}`" if gone else None


def pytest_runtest_setup(item):
    """`@pytest.mark.real_data("mnist")` skips where the set is not cached, and fails under HASHLAB_REQUIRE_DATA=1."""
    for marker in item.iter_markers("real_data"):
        for name in marker.args:
            reason = missing_data(name)
            if reason and os.environ.get("HASHLAB_REQUIRE_DATA") == "1":
                pytest.fail(f"real data are required here, but there is {reason}", pytrace=False)
            if reason:
                pytest.skip(f"there is {reason}")
