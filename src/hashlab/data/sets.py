"""What each data set is: size, classes, source, licence, and the fingerprint its images must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hashlab.errors import InputError

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class SetInfo:
    """One data set. `fingerprints` maps each official split to the SHA-256 of its sort keys in canonical order.

    A sort key is the SHA-256 digest of an image's raw bytes followed by its label as 2 big-endian bytes, so
    neither the order of a download nor its file format matters.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    fingerprints: Mapping[str, str]
    source: str
    licence: str
    relevance: str = "same_class"
    embedded: bool = False


SETS: dict[str, SetInfo] = {
    about.name: about
    for about in (
        SetInfo(
            name="digits",
            title="Handwritten digits, 8x8 grey, as shipped with scikit-learn (values 0..16 scaled to 0..255)",
            shape=(8, 8),
            classes=DIGITS,
            counts={"all": 1797},
            fingerprints={"all": "bbeda7059810551cdbf43768a9c974a154c4cdc12fa893da71cb9b4f1121ca8d"},
            source="scikit-learn, load_digits: test part of Alpaydin and Kaynak's Optical Recognition of Handwritten"
            " Digits, UCI repository, 1998",
            licence="CC BY 4.0",
            embedded=True,
        ),
        SetInfo(
            name="mnist",
            title="Handwritten digits, 28x28 grey",
            shape=(28, 28),
            classes=DIGITS,
            counts={"train": 60_000, "test": 10_000},
            fingerprints={
                "train": "6986ee09509d98cd5880dab762ec3815af1b29ca13a45e19be49e4b90fc802f5",
                "test": "1c1df9e5288e9184490b14e50d017f08d5af1b935da6b5af036655402d61f5c5",
            },
            source="LeCun, Cortes and Burges, The MNIST database of handwritten digits",
            licence="CC BY-SA 3.0",
        ),
    )
}


def names() -> list[str]:
    """The names that `hashlab.data.load` takes."""
    return list(SETS)


def info(name: str) -> SetInfo:
    """What is known of the set called `name`; raises InputError for a name that is not one of `names()`."""
    if name not in SETS:
        raise InputError(f"unknown data set {name!r}; expected one of: {', '.join(SETS)}")
    return SETS[name]
