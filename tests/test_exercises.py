"""Exercises that a reader writes, drawings of networks, and captions of tables."""

import numpy as np
import pytest
import torch
from docutils import nodes
from hypothesis import given
from hypothesis import strategies as st

from hashlab.chapters import exercises
from hashlab.chapters.figures import drawings
from hashlab.errors import InputError


def said(capsys, answer, *cases, **options):
    exercises.check(answer, *cases, **options)
    return capsys.readouterr().out


def test_dots_are_not_an_answer(capsys):
    def double(x): ...

    case = ((1,), 2)
    assert said(capsys, double, case).startswith("double: not written yet")
    with pytest.raises(AssertionError, match="not written yet"):
        exercises.check(double, case, required=True)


def test_a_wrong_answer_is_shown_beside_the_right_one(capsys):
    lines = said(capsys, lambda x: x + 1, ((1,), 2), ((2,), 4)).splitlines()
    assert lines == ["(2) gave 3, expected 4", "1 of 2 cases are right"]
    with pytest.raises(AssertionError, match="expected 4"):
        exercises.check(lambda x: x + 1, ((2,), 4), required=True)


def test_an_error_is_told_and_the_other_cases_are_tried(capsys):
    lines = said(capsys, lambda x: 1 / x, ((0,), 0), ((2,), 0.5)).splitlines()
    assert lines == ["(0) raised ZeroDivisionError: division by zero", "1 of 2 cases are right"]


@pytest.mark.parametrize(
    "right, wrong",
    [
        (1.5, 1.5001),
        (np.float32(0.1), 0.2),
        (True, False),
        ("dpsh", "dsh"),
        (np.arange(3), [0, 1, 3]),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3)[None]),
        (np.array([1.0, np.nan]), np.array([np.nan, 1.0])),
        (torch.ones(2, requires_grad=True), torch.zeros(2)),
        ((1, np.arange(2)), (1, np.arange(2) + 1)),
        ((1, 2), (1, 2, 3)),
        (1, "one"),
        (2, (2, 2)),
    ],
)
def test_values_of_any_kind_are_compared(capsys, right, wrong):
    assert said(capsys, lambda: right, ((), right)) == "1 of 1 cases are right\n"
    assert "expected" in said(capsys, lambda: wrong, ((), right))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1.0))
def test_numbers_may_be_near(value, share):
    near = 1e-3
    for factor, right in ((0.9, True), (1.1, False)):
        step = factor * (near + near * abs(value))
        line = exercises._line(lambda number=value + step: number, (), value, near)
        assert (line == "") == right


def test_cases_are_needed():
    with pytest.raises(InputError, match="cases to try an answer on expected"):
        exercises.check(lambda: 1)


def test_arrows_end_at_boxes():
    boxes = {"image": (0, 0), "network": (1, 0), "table": (1, 1)}
    ax = drawings.network(boxes, [("image", "network"), ("network", "table")], new=["table"])
    written = [text.get_text() for text in ax.texts]
    assert all(box in written for box in boxes)
    with pytest.raises(InputError, match=r"expected, got \['codes'\]"):
        drawings.network(boxes, [("image", "codes")])
    with pytest.raises(InputError, match="got"):
        drawings.network(boxes, [], new=["cloud"])


@pytest.fixture
def captions():
    """The transform, without Sphinx around it."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "book" / "hashlab_book.py"
    spec = importlib.util.spec_from_file_location("hashlab_book_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def apply(*content):
        from docutils.utils import new_document

        document = new_document("page")
        document.extend(content)
        module.TableCaptions(document).apply()
        return document

    return apply


def titles(document):
    return [title.astext() for title in document.findall(nodes.title)]


def test_a_table_of_a_text_gets_the_caption_below_it(captions):
    below = nodes.paragraph("", "", nodes.Text("Table: Of "), nodes.emphasis("", "bits"))
    document = captions(nodes.table(), below, nodes.paragraph("", "", nodes.Text("More.")))
    assert titles(document) == ["Of bits"]
    assert [node.astext() for node in document.findall(nodes.paragraph)] == ["More."]


@pytest.mark.parametrize("text", ["Tables: two.", "A Table: of", ""])
def test_other_paragraphs_stay(captions, text):
    document = captions(nodes.table(), nodes.paragraph("", "", nodes.Text(text)))
    assert titles(document) == [] and document.astext().strip() == text


def test_a_table_that_a_cell_displays_has_its_caption_in_the_metadata(captions):
    about = {"mystnb": {"table": {"caption": "Of bits.", "name": "tbl:bits"}}}
    cell = nodes.container("", nodes.table(), nb_element="cell_code", cell_metadata=about)
    plain = nodes.container("", nodes.table(), nb_element="cell_code", cell_metadata={})
    document = captions(cell, plain)
    assert titles(document) == ["Of bits."] and document.nameids["tbl:bits"]
