"""What the commands say: lists, words that are wrong, readers that turn away."""

import dataclasses
import os
import re

import pytest
from processes import command, run

from hashlab import methods
from hashlab.cli import aligned, describe_method, main
from hashlab.errors import did_you_mean
from hashlab.methods.base import KINDS, About, setting
from hashlab.methods.tested import tested_with

COMMANDS = [
    "data", "run", "grid", "evaluate", "convert", "verify", "table", "methods", "encode",
    "index", "search", "duplicates", "export",
]  # fmt: skip


@pytest.mark.parametrize(
    "words, said",
    [
        (["fly"], "argument COMMAND: invalid choice: 'fly' .*; see hashlab --help"),
        (
            ["run"],
            "the following arguments are required: method, dataset, --bits; see hashlab run --help",
        ),
        (
            ["run", "mu_liu", "digits", "--bits", "x"],
            "argument --bits: invalid int value: 'x'; see hashlab run --help",
        ),
        (
            ["grid", "--budget", "1"],
            "the following arguments are required: FILE; see hashlab grid --help",
        ),
        (
            ["encode", "model"],
            "the following arguments are required: IMAGE, -o/--output; see hashlab encode --help",
        ),
        (
            ["table", "--format", "pdf"],
            "argument --format: invalid choice: 'pdf' .*; see hashlab table --help",
        ),
        (
            ["table", "--speed", "3 m", "now"],
            "not understood: --speed '3 m' now; see hashlab table --help",
        ),
        (
            ["data", "fetch", "nabirds", "--size", "0"],
            "argument --size: .* pixels, 1 or more, .* got '0'; see .*",
        ),
        (
            ["data", "fetch", "mnist", "--size", "0"],
            "argument --size: .* pixels, 1 or more, .* got '0'; see .*",
        ),
        (
            ["data", "fetch", "nabirds", "--size", "-8"],
            "argument --size: .* got '-8'; see hashlab data --help",
        ),
        (
            ["data", "fetch", "nabirds", "--size", "big"],
            "argument --size: .* got 'big'; see hashlab data --help",
        ),
    ],
)
def test_wrong_words_are_one_line(words, said, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(f"hashlab: {said}\n", captured.err) and captured.out == ""


def test_alone_it_says_what_there_is(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{command}( |$)", out, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize(
    "words, meant",
    [
        (["evalute", "a.npz"], "evaluate"),
        (["run", "dpsh_", "digits", "--bits", "8"], "dpsh"),
        (["run", "DPSH", "digits", "--bits", "8"], "dpsh"),
        (["run", "dpsh", "digts", "--bits", "8"], "digits"),
        (["run", "dpsh", "digits", "--bits", "8", "--protocol", "digits-unsen"], "digits-unseen"),
        (["run", "dpsh", "digits", "--bits", "8", "--set", "batchsize=4"], "batch_size"),
        (["run", "dpsh", "digits", "--bits", "8", "--set", "optimiser=sdg"], "sgd"),
        (["run", "dpsh", "digits", "--bits", "8", "--set", "backbone=tinny"], "tiny"),
        (["methods", "hash_net"], "hashnet"),
        (["data", "check", "cifar-10"], "cifar10"),
        (["data", "fetsh", "mnist"], "fetch"),
        (["evaluate", "a.npz", "--querycodes", "b.npy"], "--query-codes"),
    ],
)
def test_what_may_be_meant_is_said(words, meant, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert f"; did you mean {meant}?" in captured.err and captured.err.count("\n") == 1


def test_nothing_is_guessed_that_is_far():
    assert did_you_mean("zzz", methods.names()) == "" and did_you_mean(3, ["three"]) == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_line_leads_to_is_there(command, capsys):
    """`see hashlab COMMAND --help`."""
    assert main([command, "--no-such-word"]) == 2
    assert capsys.readouterr().err.endswith(f"; see hashlab {command} --help\n")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith(
        f"usage: hashlab {command} [-h]"
    )


# ---- methods


def test_methods_are_a_table(capsys):
    assert main(["methods"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    starts = [
        head.index(word) for word in ("name", "year", "kind", "labels", "tested with", "paper")
    ]
    assert [line.split()[0] for line in lines] == methods.names()
    for line in lines:
        about = methods.about(line.split()[0])
        cells = [line[a:b].rstrip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        tested = tested_with(about, methods.create(about.name, 64).Config)
        facts = [str(about.year or ""), about.kind, ", ".join(about.labels), tested, about.paper]
        assert cells == [about.name, *facts] and about.kind in KINDS


@pytest.mark.parametrize("name", methods.names())
def test_a_method_says_what_it_is_and_what_can_be_set(name, capsys):
    assert main(["methods", name]) == 0
    out, about, method = capsys.readouterr().out, methods.about(name), methods.create(name, 64)
    facts, settings = out.split("settings:\n")
    for key in ("paper", "year", "kind", "status"):
        value = getattr(about, key)
        assert bool(value) == bool(
            re.search(rf"^{key} +{re.escape(str(value))}$", facts, re.MULTILINE)
        )
    assert re.search(rf"^labels +{', '.join(about.labels)}$", facts, re.MULTILINE)
    assert re.search(
        rf"^tested with +{re.escape(tested_with(about, method.Config))}$", facts, re.MULTILINE
    )
    lines = settings.splitlines()
    for line, field in zip(lines, dataclasses.fields(method.config), strict=True):
        assert line.startswith(f"    {field.name}={field.default}  ")
        assert len(field.metadata["meaning"]) > 3 and field.metadata["meaning"] in line, (
            f"{field.name} has no meaning"
        )
    assert (
        len({re.match(r" +\S+ +", line).end() for line in lines}) == 1
    )  # meanings stand below each other


def test_a_setting_says_its_values():
    @dataclasses.dataclass
    class Config:
        CHOICES = {"pace": ("slow", "fast")}  # noqa: RUF012
        steps: int = setting(12, "how far")
        pace: str = setting("slow", "how fast")
        bare: float = 1.0

    about = About(
        "made", "A title", 2020, "centre", ("same_class", "levels"), "A and B", "reconstruction"
    )
    assert describe_method(about, Config).splitlines() == [
        "made: A title",
        "paper        A and B",
        "year         2020",
        "kind         centre",
        "labels       same_class, levels",
        "status       reconstruction",
        "tested with  digits, digit_tree; tiny, lenet",
        "settings:",
        "    steps=12   how far",
        "    pace=slow  how fast (slow, fast)",
        "    bare=1.0",
    ]
    assert aligned([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]


# ---- readers that turn away


@pytest.mark.parametrize("words", [["methods", "mu_liu"], ["data", "list"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_is_closed_ends_it_quietly(words, unbuffered):
    """As by `| head -1`: whether it is noticed at the first line or when the last ones are
    handed over.
    """
    reads, writes = os.pipe()
    os.close(reads)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = run(*command(*words), stdout=writes, env=environment)
    os.close(writes)
    assert done.stderr == "" and done.returncode == 1
