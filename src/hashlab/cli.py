"""The command `hashlab`: data | run | grid | evaluate | verify | table | methods | encode.

Whatever is wrong with the input ends in one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import hashlab
from hashlab.data import opening
from hashlab.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 something differs or was interrupted, 2 bad input."""
    os.environ.setdefault("HASHLAB_PROGRESS", "lines")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = parser().parse_args(arguments)
        with plain_warnings():
            code = parsed.command(parsed) or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        _stop_printing()
        return 1
    except (InputError, FloatingPointError, MemoryError) as error:
        print(f"hashlab: {error or 'memory is full'}", file=sys.stderr)
    except OSError as error:  # no permission, no space: the system's own words and the file
        print(f"hashlab: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt as error:
        print(f"hashlab: {interrupted(error, arguments)}", file=sys.stderr)
        return 1
    return 2


def _stop_printing() -> None:
    """Let what is still to be printed go nowhere: at its end Python would complain about the pipe once more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupted(error: KeyboardInterrupt, arguments: Sequence[str]) -> str:
    """What Ctrl-C left behind, and how to go on."""
    if not str(error):
        return "interrupted; nothing half-done was kept"
    words = [word for word in arguments if word not in ("--resume", "--no-resume")]
    return f"{error}; go on with: {shlex.join(['hashlab', *words, '--resume'])}"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings of hashlab as one line, without the source around it."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"hashlab: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


class Words(argparse.ArgumentParser):
    """A parser to which wrong words are bad input like any other: one sentence, and where to read more."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, *words: Any, **more: Any) -> tuple[argparse.Namespace, list[str]]:
        """As usual, but words that are left over are an error of this command, not of `hashlab` as a whole."""
        found, left = super().parse_known_args(*words, **more)
        if left:
            self.error(f"not understood: {shlex.join(left)}")
        return found, left


def parser() -> argparse.ArgumentParser:
    top = Words(prog="hashlab", description=hashlab.__doc__)
    top.add_argument("--version", action="version", version=f"hashlab {hashlab.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _data(commands)
    _run(commands)
    _grid(commands)
    _evaluate(commands)
    _verify(commands)
    _table(commands)
    _methods(commands)
    _encode(commands)
    return top


def _add(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=function)
    return sub


def _data(commands: Any) -> None:
    sub = _add(commands, "data", data, "List the data sets, fetch one into the cache, check it, or draw samples of it.")
    sub.add_argument("action", choices=("list", "fetch", "check", "show"))
    sub.add_argument("name", nargs="?", help="a data set (fetch, check, show)")
    sub.add_argument("--protocol", help="check: how to split (default: each protocol of the set)")
    sub.add_argument("--root", type=path, help="cache folder (default: $HASHLAB_DATA or data/cache)")
    sub.add_argument("-o", "--output", type=path, help="show: the picture to write (default: NAME.png)")
    by_hand = sub.add_argument_group("fetch, for the sets that you put there by hand")
    by_hand.add_argument("--source", type=path, help="where their files are (default: source/NAME in the cache folder)")
    by_hand.add_argument("--size", type=side, help="side of the square images that are kept, in pixels (default: 224)")
    by_hand.add_argument("--fit", help="crop to the centre (default), or squash to the square")
    by_hand.add_argument("--skip-broken", action="store_true", help="leave images out that cannot be read")


def side(word: str) -> int:
    """The side of an image: a whole number of pixels, 1 or more; what is too many is for the reader to say."""
    if not word.isdecimal() or len(word) > 9 or int(word) == 0:
        raise argparse.ArgumentTypeError(f"a whole number of pixels, 1 or more, is expected, got {word[:40]!r}")
    return int(word)


def path(word: str) -> Path:
    """The name of a file or folder."""
    if "\0" in word:
        raise argparse.ArgumentTypeError(f"a path without NUL characters is expected, got {word!r}")
    return Path(word)


def data(parsed: argparse.Namespace) -> None:
    from hashlab.data import names

    if parsed.action == "list":
        list_data(parsed.root)
        return
    if parsed.name is None:
        raise InputError(f"a data set is expected after `data {parsed.action}`; one of: {', '.join(names())}")
    {"fetch": fetch_data, "check": check_data, "show": show_data}[parsed.action](parsed)


def list_data(root: Path | None) -> None:
    """Every set with its size, protocols, source and licence, and whether it is in the cache."""
    from hashlab.data import cache, info, names, protocols

    for name in names():
        about = info(name)
        print(f"{name}: {about.title}; {sum(about.counts.values()):,} images; {', '.join(protocols.names(name))}")
        print(f"    source: {about.source}; licence: {about.licence}")
        print(f"    {'always there' if about.embedded else cache.where(about, root)}")


def fetch_data(parsed: argparse.Namespace) -> None:
    from hashlab.data import cache, info

    about = info(parsed.name)
    if about.by_hand:
        prepare_data(about, parsed)
    elif parsed.source or parsed.size or parsed.fit or parsed.skip_broken:
        raise InputError(f"--source, --size, --fit and --skip-broken are for sets put there by hand, not {about.name}")
    elif not about.embedded:
        print(f"{about.name}: {cache.fetch(about, parsed.root)}")
    check_images(about, parsed.root)


def prepare_data(about: Any, parsed: argparse.Namespace) -> None:
    """Fill the cache from the files of a set, or say where to get them."""
    from hashlab.data import cache, prepared

    usual = prepared.source(about, parsed.root)
    if parsed.source or usual.is_dir():
        choices = {"size": parsed.size, "fit": parsed.fit, "skip_broken": parsed.skip_broken}
        print(f"{about.name}: {prepared.prepare(about, parsed.root, parsed.source or usual, **choices)}")
    elif not (cache.root(parsed.root) / about.name).is_dir():
        print(about.by_hand.strip())
        raise InputError(f"{about.name} cannot be fetched: put its files, as described, into {usual}")


def check_data(parsed: argparse.Namespace) -> None:
    from hashlab.data import info, protocols
    from hashlab.data.opening import load

    about = info(parsed.name)
    wanted = [parsed.protocol] if parsed.protocol else protocols.names(parsed.name)
    for name in wanted:
        protocols.get(parsed.name, name)
    check_images(about, parsed.root)
    for name in wanted:
        print(describe(load(parsed.name, protocol=name, root=parsed.root)))


def check_images(about: Any, root: Path | None) -> None:
    """Check every image of a set in the cache, and say so; raises InputError where one is not as it should be."""
    from hashlab.data import prepared

    if about.by_hand:
        print(f"{about.name}: {prepared.verify(about, root)}")
        return
    opening.open_pool(about, root)
    print(f"{about.name}: {' + '.join(map(str, about.counts.values()))} images, every one as its fingerprint says")


def show_data(parsed: argparse.Namespace) -> None:
    from hashlab.data import show

    file = parsed.output or Path(f"{parsed.name}.png")
    show.save(parsed.name, file, parsed.root)
    print(f"{parsed.name}: {file}")


def describe(dataset: Any) -> str:
    """A protocol's sizes, and the images that stand in two of its parts or twice in one."""
    sizes = ", ".join(f"{part} {len(getattr(dataset, part))}" for part in ("query", "train", "database"))
    lines = [f"{dataset.protocol}: {sizes}; validation {len(dataset.validation)} of train"]
    for (first, second), pairs in dataset.duplicates().items():
        where = f"within {first}" if first == second else f"between {first} and {second}"
        if pairs:
            lines.append(f"    {len(pairs)} exact duplicates {where}: {' '.join(f'{a}={b}' for a, b in pairs)}")
    return "\n".join(lines if len(lines) > 1 else [*lines, "    no exact duplicates"])


def _run(commands: Any) -> None:
    sub = _add(commands, "run", run, "Train a method, encode, evaluate; keep the record and the codes.")
    sub.add_argument("method", help="see `hashlab methods`")
    _how(sub)


def _grid(commands: Any) -> None:
    text = "Run every combination of methods, code lengths, seeds and settings; what they share is done once."
    sub = _add(commands, "grid", grid, text)
    sub.add_argument("method", help="one method, or several with commas")
    _how(sub)
    sub.epilog = "A setting takes several values with commas: --set lr=0.01,0.1 epochs=5"


def _how(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("dataset", help="see `hashlab data list`")
    sub.add_argument("--bits", type=int, nargs="+", action="extend", required=True, help="code lengths")
    sub.add_argument("--seeds", type=int, nargs="+", action="extend", metavar="SEED", help="default: 0")
    sub.add_argument("--protocol", help="default: the data set's first")
    sub.add_argument(
        "--tuning",
        action="store_true",
        help="train on nine tenths of the train part, retrieve the other tenth",
    )
    sub.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")
    sub.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="settings of the method"
    )
    sub.add_argument("--root", type=path, help="where records are kept (default: $HASHLAB_RESULTS or results)")
    sub.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with a run that was interrupted, from its last checkpoint (this is the default)",
    )
    sub.add_argument("--save-model", type=path, metavar="FOLDER", help="keep the trained model, for `hashlab encode`")


def run(parsed: argparse.Namespace) -> int:
    return carry_out(parsed, [parsed.method], [settings(parsed.set)])


def grid(parsed: argparse.Namespace) -> int:
    return carry_out(parsed, parsed.method.split(","), variants(parsed.set))


def carry_out(parsed: argparse.Namespace, names: list[str], variants: list[dict[str, Any]]) -> int:
    """Do the runs one after the other, a line for each; one that fails does not stop the others."""
    from hashlab import experiments

    runs = experiments.plan(
        names,
        parsed.dataset,
        parsed.bits,
        parsed.seeds or [0],
        variants,
        protocol=parsed.protocol,
        tuning=parsed.tuning,
        save_model=parsed.save_model,
        device=parsed.device,
        root=parsed.root,
        resume=parsed.resume,
        save=True,
    )
    failed = []
    for one in runs:
        try:
            record = one()
            print(f"{record.path}: mAP {record.map:.4f}, training {record.seconds['train']:.0f} s", flush=True)
        except (InputError, FloatingPointError, MemoryError) as error:
            failed.append(error)
            print(f"hashlab: {error}", file=sys.stderr)
    return 2 if failed else 0


def variants(pairs: Sequence[str]) -> list[dict[str, Any]]:
    """`["c=1,2", "epochs=3"]` as [{"c": 1, "epochs": 3}, {"c": 2, "epochs": 3}]."""
    split = [pair.partition("=") for pair in pairs]
    choices = [[f"{name}{equals}{value}" for value in values.split(",")] for name, equals, values in split]
    return [settings(choice) for choice in product(*choices)]


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["c=4", "epochs=3"]` as {"c": 4, "epochs": 3}; raises InputError for a pair without `=`."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"a setting is written NAME=VALUE, got {pair!r}")
        if name in found:
            raise InputError(f"setting {name} is given twice")
        try:
            found[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _evaluate(commands: Any) -> None:
    sub = _add(
        commands,
        "evaluate",
        evaluate,
        "Score codes in a .npz file: query_codes, database_codes, query_labels, database_labels, bits.",
    )
    sub.epilog = (
        "The file may also say format (packed, bits or signs; alike for both sides) and bitorder "
        "(little, the default, or big, as np.packbits writes)."
    )
    sub.add_argument("file", type=path)
    sub.add_argument("--at", type=int, help="cut the ranking after this many images")
    kinds = "same_class (default): (N,) classes; shares_label: (N, L) of 0 and 1; levels: (N, L), fine first"
    sub.add_argument("--relevance", default="same_class", help=kinds)
    sub.add_argument("--convention", help="a published definition of mAP, or `all` of them side by side")
    sub.add_argument("--tables", type=int, nargs="+", metavar="BITS", help="bits of each hash table in a code")
    sub.add_argument("--combine", help="how tables are combined: sum, union or weighted")
    sub.add_argument("--weights", type=int, nargs="+", help="whole numbers 0..15, for weighted")
    sub.add_argument("--json", action="store_true", help="everything, as JSON")
    sub.add_argument("--pr", type=path, metavar="PNG", help="draw precision against recall into this file")


def evaluate(parsed: argparse.Namespace) -> None:
    from hashlab import files, metrics

    if parsed.pr:
        files.check_file(parsed.pr, ".png")
    words = ("at", "relevance", "tables", "combine", "weights")
    call = files.read_codes(parsed.file, parsed.tables) | {word: getattr(parsed, word) for word in words}
    every = [name for name in metrics.CONVENTIONS if name != "asymmetric"]  # which needs real outputs
    names = every if parsed.convention == "all" else [parsed.convention]
    if parsed.at is not None and len(names) > 1:
        names = [name for name in names if metrics.CONVENTIONS[name].cut]
    if parsed.convention == "asymmetric":
        raise InputError("convention asymmetric ranks by real outputs of the queries, and a file holds their bits")
    try:
        reports = {name: metrics.evaluate(**call, convention=name) for name in names}
    except InputError as error:
        raise InputError(f"{parsed.file}: {error}") from None
    if parsed.pr:
        draw_curve(reports[names[0]], parsed.file.stem, parsed.pr)
    if parsed.json:
        found = {name: report.to_dict() for name, report in reports.items()}
        print(json.dumps(found if len(names) > 1 else found[names[0]]))
    elif len(names) == 1:
        print(reports[names[0]])
    else:
        for name, report in reports.items():
            print(f"{report.map:.4f}  {name}: {metrics.CONVENTIONS[name].definition}")


def draw_curve(report: Any, name: str, file: Path) -> None:
    """Draw precision against recall by Hamming radius into `file`."""
    import io

    import matplotlib

    matplotlib.use("agg")
    from hashlab import files, plots

    drawing = io.BytesIO()
    plots.precision_recall({name: report}).figure.savefig(drawing, dpi=150, format="png")
    files.write(file, drawing.getvalue())


def _verify(commands: Any) -> None:
    sub = _add(commands, "verify", verify, "Hold records against their digests, names and stored codes.")
    sub.add_argument("files", nargs="*", type=path, help="records (default: all)")
    sub.add_argument("--root", type=path, help="where records are kept (default: $HASHLAB_RESULTS or results)")


def verify(parsed: argparse.Namespace) -> int:
    from hashlab import records

    chosen = parsed.files or records.files_of(parsed.root)
    if not chosen:
        raise InputError(f"no records in {records.root(parsed.root)}")
    for file in parsed.files:
        file.stat()  # what was named must be there
    agreeing, code = 0, 0
    for file in chosen:
        try:
            differences = records.verify(records.read(file))
        except InputError as error:
            differences = [str(error)]
            if parsed.files:  # what was named must be a record
                print(f"hashlab: {error}", file=sys.stderr)
                code = 2
        agreeing += not differences
        print(f"{file.name}: {'; '.join(differences) or 'every metric agrees'}")
    print(f"{agreeing} of {len(chosen)} records agree with their codes")
    return code or int(agreeing < len(chosen))


def _table(commands: Any) -> None:
    sub = _add(commands, "table", table, "Tabulate records: mean and standard deviation over seeds.")
    sub.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    sub.add_argument("--root", type=path, help="where records are kept (default: $HASHLAB_RESULTS or results)")
    sub.add_argument("--tuning", action="store_true", help="the runs that chose settings, instead of results")
    for name in ("method", "dataset", "protocol"):
        sub.add_argument(f"--{name}")


def table(parsed: argparse.Namespace) -> int:
    from hashlab import records

    wanted = {key: value for key in ("method", "dataset", "protocol") if (value := getattr(parsed, key))}
    refused: list[InputError] = []
    found = records.load(parsed.root, refused=refused, **wanted)
    for error in refused:
        print(f"hashlab: {error}; it is left out", file=sys.stderr)
    rows = records.table([record for record in found if record.protocol.endswith("/tuning") == parsed.tuning])
    if not rows:
        raise InputError(f"no such records in {records.root(parsed.root)}")
    asked_json = parsed.format == "json"
    print(json.dumps(records.plain(rows), indent=1) if asked_json else records.render(rows, parsed.format))
    return 1 if refused else 0


def _methods(commands: Any) -> None:
    sub = _add(commands, "methods", methods, "List the methods, or say what one is and which settings it has.")
    sub.add_argument("name", nargs="?", help="a method")


def methods(parsed: argparse.Namespace) -> None:
    from hashlab import methods as registry
    from hashlab.methods.tested import tested_with

    if parsed.name is not None:
        print(describe_method(registry.about(parsed.name), registry.create(parsed.name, 64).Config))
        return
    rows = [("name", "year", "kind", "labels", "tested with", "paper")]
    for name in registry.names():
        about, config = registry.about(name), registry.create(name, 64).Config
        facts = (str(about.year or ""), about.kind, ", ".join(about.labels), tested_with(about, config), about.paper)
        rows.append((name, *facts))
    print("\n".join(aligned(rows)))


def describe_method(about: Any, config: type) -> str:
    """What a method is, and a line for each of its settings: default, meaning, and the values it may have."""
    from hashlab.methods.tested import tested_with

    said = [(key, getattr(about, key)) for key in ("paper", "year", "kind", "labels", "status")]
    facts = [(key, ", ".join(value) if isinstance(value, tuple) else str(value)) for key, value in said if value]
    facts.append(("tested with", tested_with(about, config)))
    choices, rows = getattr(config, "CHOICES", {}), []
    for field in dataclasses.fields(config):
        values = f"({', '.join(choices[field.name])})" if field.name in choices else ""
        rows.append((f"{field.name}={field.default}", f"{field.metadata.get('meaning', '')} {values}".strip()))
    settings = [f"    {line}" for line in aligned(rows)]
    return "\n".join([f"{about.name}: {about.title}", *aligned(facts), "settings:", *settings])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A line per row, its cells two blanks apart and below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _encode(commands: Any) -> None:
    sub = _add(commands, "encode", encode, "Turn the images of a folder into packed codes, with a saved model.")
    sub.add_argument("model", type=path, help="a folder that `hashlab run --save-model` wrote")
    sub.add_argument("folder", type=path, help="images, also in subfolders")
    sub.add_argument("-o", "--output", type=path, required=True, help="the .npz file to write: names, codes, bits")
    sub.add_argument("--skip-broken", action="store_true", help="leave images out that cannot be read, and name them")
    sub.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")


def encode(parsed: argparse.Namespace) -> None:
    from hashlab import encoding

    done = encoding.encode_folder(parsed.model, parsed.folder, parsed.output, parsed.skip_broken, parsed.device)
    for name, reason in done.broken.items():
        print(f"hashlab: skipped {name}: {reason}", file=sys.stderr)
    print(f"{parsed.output}: {done.images} images, {done.bits} bits each; {len(done.broken)} skipped")


if __name__ == "__main__":
    sys.exit(main())
