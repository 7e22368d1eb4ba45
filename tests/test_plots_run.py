"""The figures of the chapter on runs: what they draw is what they were given."""

import numpy as np
from matplotlib.colors import to_rgb

from hashlab.chapters.figures import run


def test_stages_writes_every_step_and_draws_images_and_bits():
    image, bits = np.arange(64, dtype=np.uint8).reshape(8, 8), np.array([1, 0, 0, 1, 1], bool)
    ax = run.stages(
        {"load": ("load(…)", image), "encode": ("encode(…)", bits), "record": ("run(…)", "a file")}
    )
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    assert [texts[name][1] for name in ("load", "encode", "record")] == [
        0,
        1,
        2,
    ] and ax.yaxis_inverted()
    assert [round(texts[call][1]) for call in ("load(…)", "encode(…)", "run(…)")] == [0, 1, 2]
    assert round(texts["a file"][1]) == 2
    (picture,) = ax.images
    left, right, lower, upper = picture.get_extent()
    assert np.array_equal(picture.get_array(), image) and -0.5 < upper < lower < 0.5
    across, down = np.diff(ax.transData.transform([(left, upper), (right, lower)]), axis=0)[0]
    assert abs(across / -down - 1) < 0.1  # a square image stays one
    (squares,) = ax.collections
    assert np.array_equal(squares.get_facecolors()[:, 0] < 0.5, bits)
    assert (np.diff(squares.get_offsets()[:, 0]) > 0).all() and (
        squares.get_offsets()[:, 1].round() == 1
    ).all()


def test_stages_joins_each_step_with_the_one_before():
    ax = run.stages(dict.fromkeys("abcd", ("", "")))
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 3
    for row, arrow in enumerate(
        arrows
    ):  # from the lower half of a row to the upper half of the next
        assert row < arrow.xyann[1] < row + 0.5 < arrow.xy[1] < row + 1


def test_epochs_done_draws_a_square_per_epoch_hollow_where_shared():
    first = [{"phase": "one"}, {"phase": "two"}, {"phase": "two"}]
    second = [{"phase": "one", "shared": True}, {"phase": "two"}, {"phase": "two"}]
    ax = run.epochs_done({"8 bits": first, "12 bits": second})
    for row, (squares, history) in enumerate(zip(ax.collections, (first, second), strict=True)):
        assert squares.get_offsets().tolist() == [[i, row] for i in (1, 2, 3)]
        hollow = (squares.get_facecolors()[:, :3] == 1).all(1)
        assert hollow.tolist() == ["shared" in line for line in history]
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    edges = [tuple(edge[:3]) for edge in ax.collections[1].get_edgecolors()]
    assert edges == [to_rgb(colours[line["phase"]]) for line in second] and len(set(edges)) == 2
    assert {text.get_text(): text.get_position()[0] for text in ax.texts} == {
        "one": 0.7,
        "two": 1.7,
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "8 bits",
        "12 bits",
    ] and ax.yaxis_inverted()
    assert list(ax.get_xticks()) == [1, 2, 3]
