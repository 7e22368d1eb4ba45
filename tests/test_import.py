"""What is imported, and when: nothing before it is needed."""

import processes
import pytest

import hashlab


def python(program):
    done = processes.python("-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("room", hashlab.__all__)
def test_rooms_are_there_as_attributes(room):
    assert getattr(hashlab, room).__name__ == f"hashlab.{room}" and room in dir(hashlab)


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'kitchen'"):
        _ = hashlab.kitchen


def test_import_loads_nothing_heavy():
    heavy = "torch", "torchvision", "sklearn", "matplotlib", "numba", "faiss"
    program = f"import sys, hashlab, hashlab.codes, hashlab.files; print(*[m for m in {heavy} if m in sys.modules])"
    assert python(program) == []


def test_rooms_load_what_they_use_and_no_more():
    heavy = "torchvision", "sklearn", "matplotlib", "numba", "faiss"
    program = (
        "import sys, hashlab; hashlab.metrics, hashlab.data, hashlab.methods, hashlab.records;"
        f"print(*[m for m in {heavy} if m in sys.modules])"
    )
    assert python(program) == []
