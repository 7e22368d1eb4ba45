"""Trees of classes from labels and from files:
what is read, and one sentence for what cannot be.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlab.data import trees
from hashlab.errors import InputError

ANIMALS = """
# two levels above the classes
cat,mammal
dog , mammal   # blanks do not matter
mammal,animal
frog,amphibian
amphibian,animal
rose,plant
animal,thing
plant,thing
"""
CLASSES = ("cat", "dog", "frog", "rose")


def written(folder, text):
    file = folder / "tree.csv"
    file.write_text(text)
    return file


def test_a_file_gives_the_classes_on_every_level(tmp_path):
    levels = trees.read(written(tmp_path, ANIMALS), CLASSES)
    # cat, dog: mammal, animal; frog: amphibian, animal; rose is two steps from the top and stands
    # for itself once more
    assert levels[:, 0].tolist() == [0, 1, 2, 3]
    middle, top = levels[:, 1].tolist(), levels[:, 2].tolist()
    assert middle[0] == middle[1] and len(set(middle)) == 3
    assert top[0] == top[1] == top[2] != top[3]
    assert levels.shape == (4, 3) and levels.dtype == np.int64  # "thing" stands above all: no level
    trees.parents(levels)


def test_two_tops_and_no_common_one(tmp_path):
    levels = trees.read(written(tmp_path, "a,x\nb,x\nc,y\n"), "abc")
    assert levels.tolist() == [[0, 0], [1, 0], [2, 1]]


def test_the_order_of_lines_does_not_matter(tmp_path):
    forward = trees.read(written(tmp_path, ANIMALS), CLASSES)
    backward = trees.read(written(tmp_path, "\n".join(ANIMALS.splitlines()[::-1])), CLASSES)
    assert np.array_equal(forward, backward)


@pytest.mark.parametrize(
    "text, words",
    [
        ("cat,mammal\ndog\n", "tree.csv, line 2: `child,parent` expected, got 'dog'"),
        ("cat,,mammal\n", "line 1: `child,parent` expected"),
        ("# nothing\n\n", "lines `child,parent` expected, got none"),
        ("cat,mammal\ncat,pet\n", "line 2: cat has a parent already, mammal"),
        ("cat,mammal\nmammal,animal\nanimal,mammal\n", "goes round in a circle at (animal|mammal)"),
        ("cat,cat\n", "goes round in a circle at cat"),
        (
            ANIMALS.replace("frog,", "toad,"),
            "a parent expected for each of the 4 classes, frog has none",
        ),
        (
            ANIMALS + "kitten,cat\n",
            "cat is a class of the set and must be a leaf, but stands above others",
        ),
        (ANIMALS + "yeti,mammal\n", "yeti is no class of the set and has none below it"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(text, words, tmp_path):
    with pytest.raises(InputError, match=words) as caught:
        trees.read(written(tmp_path, text), CLASSES)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"the tree .*none.csv cannot be read: No such file"):
        trees.read(tmp_path / "none.csv", CLASSES)
    (tmp_path / "tree.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read: not a text file"):
        trees.read(tmp_path / "tree.csv", CLASSES)


def test_parents_of_labels():
    levels = np.array([[4, 1, 0], [2, 0, 0], [7, 1, 0], [4, 1, 0], [9, 3, 2]])
    above = trees.parents(levels)
    assert [level.tolist() for level in above] == [
        [0, 1, 1, 3],
        [0, 0, 2],
    ]  # of 2, 4, 7, 9; of 0, 1, 3
    assert trees.numbered(levels).tolist() == [
        [1, 1, 0],
        [0, 0, 0],
        [2, 1, 0],
        [1, 1, 0],
        [3, 2, 1],
    ]


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=12),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_numbering_keeps_who_stands_with_whom(fine, above):
    levels = np.array([[label, above[label]] for label in fine])
    found = trees.numbered(levels)
    for column, numbers in zip(levels.T, found.T, strict=True):
        assert sorted(set(numbers)) == list(range(len(set(column))))
        assert np.array_equal(column[:, None] == column, numbers[:, None] == numbers)
    (parents,) = trees.parents(found)
    assert np.array_equal(parents[found[:, 0]], found[:, 1])


@pytest.mark.parametrize(
    "levels, words",
    [
        (
            np.array([[0, 0], [1, 0], [0, 1]]),
            "must form a tree, but class 0 of level 1 stands under 0 and under 1",
        ),
        (
            np.array([[0, 0, 0], [1, 0, 1], [2, 1, 1]]),
            "class 0 of level 2 stands under 0 and under 1",
        ),
        (np.full((3, 2), 0.5), "labels must be whole numbers or text, got 0.5"),
        (np.zeros((3, 0), int), r"labels must be \(3, levels\) classes"),
        (np.arange(3), r"labels must be \(3, levels\) classes, got \(3,\)"),
        (np.array([[0, 0], [1, 0]]), r"labels must be \(3, levels\) classes, got \(2, 2\)"),
        (np.array([[0, 0], [1, 0], [-1, 0]]), "must not be negative, got -1"),
        (np.zeros((3, 2), int), "of two classes at least"),
    ],
)
def test_labels_that_are_no_tree(levels, words):
    with pytest.raises(InputError, match=words):
        trees.check_levels(levels, 3)
