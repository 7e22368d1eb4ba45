"""What each data set is: size, classes, source, licence,
and the fingerprint its images must have.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hashlab.errors import unknown


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DIGITS = tuple(str(digit) for digit in range(10))
SHAPE_OF_DIGIT = (0, 1, 2, 2, 1, 2, 0, 1, 0, 0)  # 0 a loop, 1 straight strokes, 2 an open curve
CIFAR10 = _words(
    """
    airplane automobile bird cat deer dog frog horse ship truck
    """
)
CIFAR100 = _words(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """
)
CIFAR100_COARSE = _words(
    """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2
    """
)
# superclass of each CIFAR-100 class, in the order of CIFAR100
COARSE_OF_FINE = tuple(
    int(number)
    for number in _words(
        """
        4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15
        13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5
        5 8 19 18 1 2 15 6 0 17 8 14 13
        """
    )
)

NUSWIDE_SOURCE = (
    "Chua et al., NUS-WIDE: A Real-World Web Image Database from National University of Singapore, "
    "CIVR 2009"
)
NUSWIDE_BY_HAND = """
Ask the authors at https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html for the images
(the page has a form), or take a copy that you are allowed to use. List files come with the code of papers on hashing.
Expected in the folder:
"""
NUSWIDE_ROWS = """
Each line of a list is a path within the folder and {0} labels: `images/1234_m.jpg 0 1 0 …`. An optional concepts.txt
names the {0} columns, one name a line; without it they have numbers, for the lists do not say their order.
"""
COREL5K_BY_HAND = """
http://kobus.ca/research/data/eccv_2002 describes the data. The photographs are Corel's: take a copy that you are
allowed to use, and publish none of them.
Expected in the folder, as copies for image annotation have them:
    words            one word a line; 374 of them, or any other number
    training_label   <id> <numbers of its words, from 1>
    test_label       the same, for the queries
    images/          <the id's thousand>/<id>.jpeg, such as images/1000/1003.jpeg
A row without words is passed over: 121060 in some copies. A row that stands twice with the same words counts once
(161092 of test_label), and so does a word that a row repeats (140026).
"""
NABIRDS_BY_HAND = """
Ask for the download at https://dl.allaboutbirds.org/nabirds and unpack it.
Expected in the folder, as the archive has them:
    images/                  the files that images.txt names
    images.txt               <image> <path in images/>
    image_class_labels.txt   <image> <class>
    train_test_split.txt     <image> <1 for train, 0 for test>
    classes.txt              <class> <name>
    hierarchy.txt            <class> <class above it>
"""


@dataclass(frozen=True)
class SetInfo:
    """One data set. `fingerprints` maps each official split to the SHA-256 of its sort keys in
    canonical order.

    A sort key is the SHA-256 digest of an image's raw bytes followed by its label as 2 big-endian
    bytes, so neither the order of a download nor its file format matters. Of a set that is put
    there `by_hand`, the counts are the published ones and the rest is known once its files are read.
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
    levels: tuple[
        tuple[str, ...], ...
    ] = ()  # class names per level, fine first, where there are levels
    tree: tuple[tuple[int, ...], ...] = ()  # per fine class: its class on every level
    embedded: bool = False
    by_hand: str = (
        ""  # for a set that cannot be fetched: where to get it, and the files that are expected
    )
    pixels: str = ""  # of a set prepared from such files: the size and fit of its images
    own: str = ""  # of a set of one's own: what it was made of, "files" or "arrays"

    @property
    def fingerprint(self) -> str:
        """Of all splits; of a set that was prepared from files also the size and fit of its
        pixels.
        """
        return "+".join([*self.fingerprints.values(), *filter(None, [self.pixels])])

    @property
    def again(self) -> str:
        """What mends its cache, in words."""
        name = shlex.quote(self.name)
        if self.own:
            return f"remove it with `hashlab data remove {name}`, and add it again"
        return f"run `hashlab data fetch {name}` again"

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one image's labels: () for one class, (L,) for L levels, (C,) for C possible labels."""
        return {
            "same_class": (),
            "levels": (len(self.levels),),
            "shares_label": (len(self.classes),),
        }[self.relevance]


SETS: dict[str, SetInfo] = {
    about.name: about
    for about in (
        SetInfo(
            name="digits",
            title=(
                "Handwritten digits, 8x8 grey, as shipped with scikit-learn (values 0..16 scaled "
                "to 0..255)"
            ),
            shape=(8, 8),
            classes=DIGITS,
            counts={"all": 1797},
            fingerprints={
                "all": "bbeda7059810551cdbf43768a9c974a154c4cdc12fa893da71cb9b4f1121ca8d"
            },
            source="scikit-learn, load_digits: test part of Alpaydin and Kaynak's Optical "
            "Recognition of Handwritten"
            " Digits, UCI repository, 1998",
            licence="part of scikit-learn, which is BSD-3-Clause",
            embedded=True,
        ),
        SetInfo(
            name="digit_tree",
            title=(
                "The digits under a tree of two levels: shapes with a loop, straight strokes, open "
                "curves"
            ),
            shape=(8, 8),
            classes=DIGITS,
            counts={"all": 1797},
            fingerprints={
                "all": "bbeda7059810551cdbf43768a9c974a154c4cdc12fa893da71cb9b4f1121ca8d"
            },
            source="digits; the tree is ours",
            licence="as digits",
            relevance="levels",
            levels=(DIGITS, ("loop", "stroke", "curve")),
            tree=tuple(enumerate(SHAPE_OF_DIGIT)),
            embedded=True,
        ),
        SetInfo(
            name="digit_scenes",
            title="Scenes of 2x2 cells that hold one to three different digits, 16x16 grey",
            shape=(16, 16),
            classes=DIGITS,
            counts={"query": 300, "validation": 120, "train": 1080, "rest": 297},
            fingerprints={
                "query": "5e11b99e944f6c123deec8ded1f8ac1fc96c18296524f41d79074536c483fb8e",
                "validation": "9cca24c5b392ec202d27e0118149dbae21afa24e1cca44580aa48c79bb41be0d",
                "train": "a9a0a6d806537c04546259ed1786e64ee415e43dffe0d5cf87297476eb46508e",
                "rest": "8a983d4288185d8d69502a2d9dd386a323fc56a2a3aa5b8321906caad9fe8201",
            },
            source="made of digits; no digit stands in scenes of two parts",
            licence="as digits",
            relevance="shares_label",
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
        SetInfo(
            name="cifar10",
            title="Small photographs of ten kinds of things, 32x32 RGB",
            shape=(32, 32, 3),
            classes=CIFAR10,
            counts={"train": 50_000, "test": 10_000},
            fingerprints={
                "train": "a1b85d97ab94c425849d9cf04508a89d396391335c69a6c1982b707f3b3c2f99",
                "test": "df8fdaa3a56b688cbf6e8b5ae2ff448cbf7f73f177be76cd728e6442da8a930a",
            },
            source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            licence="none stated; cite the report",
        ),
        SetInfo(
            name="cifar100",
            title="Small photographs of a hundred kinds of things in twenty groups, 32x32 RGB",
            shape=(32, 32, 3),
            classes=CIFAR100,
            counts={"train": 50_000, "test": 10_000},
            fingerprints={
                "train": "c818ea623734aa1500d75b71112012a6d5aff9e6f55948f3823f44906d796d72",
                "test": "aa2b0b4d4b7d2f9e20da6e55fa40d6d334a770679ad90daead9e934de16b5eb0",
            },
            source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            licence="none stated; cite the report",
            relevance="levels",
            levels=(CIFAR100, CIFAR100_COARSE),
            tree=tuple(enumerate(COARSE_OF_FINE)),
        ),
        SetInfo(
            name="nuswide21",
            title="Photographs from Flickr with the 21 most frequent of 81 concepts",
            shape=(224, 224, 3),
            classes=(),
            counts={"all": 195_834},
            fingerprints={},
            source=NUSWIDE_SOURCE,
            licence=(
                "for research, under the authors' agreement; the photographs belong to their "
                "photographers"
            ),
            relevance="shares_label",
            by_hand=NUSWIDE_BY_HAND
            + "    *.txt       one or several lists; together they should name 195,834 images, each counted once\n"
            + NUSWIDE_ROWS.format(21),
        ),
        SetInfo(
            name="nuswide81",
            title="Photographs from Flickr with 81 concepts, in lists that say the split",
            shape=(224, 224, 3),
            classes=(),
            counts={"all": 223_496},
            fingerprints={},
            source=NUSWIDE_SOURCE,
            licence=(
                "for research, under the authors' agreement; the photographs belong to their "
                "photographers"
            ),
            relevance="shares_label",
            by_hand=NUSWIDE_BY_HAND
            + "    test.txt, train.txt, database.txt   HashNet's name 5,000 queries and 10,000 training images; the\n"
            + "                                        version with small images is said to have 223,496 in all\n"
            + NUSWIDE_ROWS.format(81),
        ),
        SetInfo(
            name="corel5k",
            title="Photographs of fifty themes with one to five of 374 words",
            shape=(128, 128, 3),  # all are 192x128 or 128x192, so that no pixel is resized
            classes=(),
            counts={"train": 4_500, "test": 499},
            fingerprints={},
            source="Duygulu, Barnard, de Freitas and Forsyth, Object Recognition as Machine "
            "Translation, ECCV 2002",
            licence="Corel's stock photographs, used for research; none may be published",
            relevance="shares_label",
            by_hand=COREL5K_BY_HAND,
        ),
        SetInfo(
            name="nabirds",
            title="North American birds: 555 kinds in a tree of four levels",
            shape=(224, 224, 3),
            classes=(),
            counts={"train": 23_929, "test": 24_633},
            fingerprints={},
            source="Van Horn et al., Building a Bird Recognition App and Large Scale Dataset with "
            "Citizen Scientists,"
            " CVPR 2015",
            licence="the terms of use that its page states",
            relevance="levels",
            by_hand=NABIRDS_BY_HAND,
        ),
    )
}


def names() -> list[str]:
    """The names that `hashlab.data.load` takes."""
    return list(SETS)


def info(name: str, others: Sequence[str] = ()) -> SetInfo:
    """What is known of the set called `name`;
    raises InputError for a name that is not one of `names()`, and says the others too.
    """
    if name not in names():
        raise unknown(f"data set {name!r}", name, dict.fromkeys([*SETS, *others]))
    return SETS[name]
