"""Builds what is generated: the executed notebooks, the HTML book,
the README's table and the cover's pictures.

    python book/build.py notebooks [--all] [NAME …]  # notebooks/*.py -> *.ipynb: out of step, or all
    python book/build.py html [--output DIR]         # the committed notebooks -> _build/html
    python book/build.py results                     # results/ -> README's table, cover's pictures
    python book/build.py methods                     # what methods say of themselves -> methods.md
    python book/build.py explorer                    # codes of results/digits -> explorer-data.js
    python book/build.py seconds [NAME …]            # time the chapters -> seconds.json, nothing else

A chapter is written in notebooks/NN_name.py (jupytext percent format). Its .ipynb is executed
aside, in a folder of its own, and takes the place of the old one only when every cell has run.
Whatever changes from run to run (times, versions, ids) is left out, so the file changes only when
the chapter does.
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ipykernel.kernelspec
import jupytext
import nbformat
from finish import finish
from hashlab_book import ROOT, repository
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from hashlab.files import _disk

NOTEBOOKS = ROOT / "notebooks"
SECONDS = ROOT / "book" / "seconds.json"  # of each chapter, when it was executed last
GPU_SECONDS = ROOT / "book" / "seconds_gpu.json"  # the same where there was a GPU
AT_A_TIME = 2
CELL_TIMEOUT = 300  # seconds
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
STRICT = ["--warningiserror", "--nitpick", "--keep-going"]
SETUP_CELL = ROOT / "book" / "setup_cell.txt"  # code, with places for address, folder and cost


# ---- notebooks


def sources() -> list[Path]:
    """The chapters' sources, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]*_*.py"))


def setup_cell(address: str, chapter: str) -> NotebookNode:
    """The cell that makes a notebook of the book published at `address` run without a checkout.

    It says how long the chapter takes, as far as that was measured.
    """
    times = [
        f"{10 * -(-measured(file)[chapter] // 10)} s {where}"
        for file, where in ((SECONDS, "on two CPU cores"), (GPU_SECONDS, "with a GPU"))
        if chapter in measured(file)
    ]
    cost = f"The chapter takes about {', '.join(times)}." if times else ""
    folder = address.rsplit("/", 1)[1]
    code = SETUP_CELL.read_text().rstrip("\n")
    source = code.format(address=address, folder=folder, cost=cost).replace(". \n", ".\n")
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell"]})


def convert(source: Path, address: str | None = None) -> NotebookNode:
    """The notebook that `source` stands for, not yet executed."""
    notebook = jupytext.read(source, fmt="py:percent")
    if address:
        notebook.cells.insert(0, setup_cell(address, source.stem))
    for number, cell in enumerate(notebook.cells):
        # An id that follows from the text: the same cell keeps it, and two equal cells differ by
        # their place.
        twins = sum(cell.source == other.source for other in notebook.cells[:number])
        cell.id = hashlib.sha256(f"{cell.cell_type} {twins} {cell.source}".encode()).hexdigest()[
            :12
        ]
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def out_of_step(source: Path, address: str | None = None) -> list[str]:
    """What keeps the .ipynb beside `source` from being its executed copy;
    empty when nothing does.
    """
    target = source.with_suffix(".ipynb")
    if not target.is_file():
        return [f"{target.name} is missing"]
    wanted = convert(source, address)
    executed = nbformat.read(target, as_version=4)
    if len(wanted.cells) != len(executed.cells):
        return [
            f"{target.name} has {len(executed.cells)} cells, {source.name} has {len(wanted.cells)}"
        ]
    problems = []
    for number, (new, old) in enumerate(zip(wanted.cells, executed.cells, strict=True)):
        if (new.cell_type, new.source, new.metadata) != (old.cell_type, old.source, old.metadata):
            problems.append(f"{target.name}: cell {number} differs from {source.name}")
        if old.cell_type == "code" and old.source.strip() and not old.execution_count:
            problems.append(f"{target.name}: cell {number} was not executed")
    return problems


def this_kernel() -> AsyncKernelManager:
    """A kernel in the environment that runs this script,
    whatever kernels the user has installed.
    """
    manager = AsyncKernelManager()
    kernel = ipykernel.kernelspec.get_kernel_dict()
    manager._kernel_spec = KernelSpec(resource_dir=ipykernel.kernelspec.RESOURCES, **kernel)
    return manager


def seconds_file() -> Path:
    """Where the seconds of this machine belong."""
    import torch

    return GPU_SECONDS if torch.cuda.is_available() else SECONDS


def measured(file: Path | None = None) -> dict[str, int]:
    """Seconds that each chapter took when it was executed last, as far as known; on the CPU by default."""
    file = file or SECONDS
    return json.loads(file.read_text()) if file.is_file() else {}


def note(chapter: str, seconds: float, always: bool = False) -> None:
    """Keep how long a chapter took, unless what is known is still about right: published notebooks say it."""
    known = measured(seconds_file())
    if not always and seconds / 2 < known.get(chapter, 0) < seconds * 2:
        return
    changed = known | {chapter: round(seconds)}
    _disk.write(seconds_file(), (json.dumps(changed, indent=1, sort_keys=True) + "\n").encode())


async def executed(source: Path, address: str | None) -> tuple[NotebookNode, float]:
    """The notebook of `source`, run in an empty folder, and how many seconds that took."""
    notebook = convert(source, address)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            km=this_kernel(),
            timeout=CELL_TIMEOUT,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        # What the kernel process says of itself is not the notebook's; a failing cell is reported
        # by nbclient.
        await client.async_execute(cleanup_kc=True, stderr=subprocess.DEVNULL)
    # Metadata without the version of the Python that ran it.
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook, time.perf_counter() - start


async def execute(source: Path, address: str | None) -> None:
    """Run `source` and put the result in the place of its .ipynb."""
    notebook, seconds = await executed(source, address)
    note(source.stem, seconds)
    if address:  # the first cell says what was noted just now
        first = convert(source, address).cells[0]
        notebook.cells[0].update(id=first.id, source=first.source)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    _disk.write(source.with_suffix(".ipynb"), text.encode())


async def execute_all(chosen: list[Path]) -> int:
    """Execute `chosen`, AT_A_TIME at once; returns how many failed, having said why."""
    slots = asyncio.Semaphore(AT_A_TIME)
    address = repository()

    async def one(source: Path) -> bool:
        async with slots:
            try:
                await execute(source, address)
            except CellExecutionError as error:
                problem = f"{source.name}: a cell failed; {source.stem}.ipynb stays as it was"
                print(f"{problem}\n{error}", file=sys.stderr)
                return False
            print(f"{source.name} -> {source.stem}.ipynb", flush=True)
            return True

    return (await asyncio.gather(*map(one, chosen))).count(False)


def chosen_sources(names: list[str]) -> list[Path] | None:
    """The named chapters, or all; None, having said so, where one does not exist."""
    unknown = sorted(set(names) - {source.stem for source in sources()})
    if unknown:
        print(f"no such chapter: {', '.join(unknown)}", file=sys.stderr)
        return None
    return [source for source in sources() if not names or source.stem in names]


def quiet_and_single() -> None:
    """As committed notebooks are run: without progress bars, a thread for each of two at a time."""
    os.environ.setdefault("HASHLAB_PROGRESS", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def notebooks(names: list[str], everything: bool) -> int:
    """Bring the named notebooks, or all, in step with their sources; returns the exit code."""
    chosen = chosen_sources(names)
    if chosen is None:
        return 2
    if not everything:
        chosen = [source for source in chosen if out_of_step(source, repository())]
    if not chosen:
        print("All notebooks are in step with their sources.")
    quiet_and_single()
    return 1 if asyncio.run(execute_all(chosen)) else 0


def seconds(names: list[str]) -> int:
    """Time the named chapters, or all, one after another, and keep that; no notebook is changed.
    Returns the exit code.
    """
    chosen = chosen_sources(names)
    if chosen is None:
        return 2
    quiet_and_single()
    for source in chosen:
        try:
            _, took = asyncio.run(executed(source, None))
        except CellExecutionError as error:
            print(f"{source.name}: a cell failed\n{error}", file=sys.stderr)
            return 1
        note(source.stem, took, always=True)
        print(f"{source.stem}: {took:.0f} s", flush=True)
    return 0


# ---- html


def html(output: Path) -> int:
    """Render the committed notebooks below `output`; every warning is an error.
    Returns the exit code.

    The pages take the place of those of the last time once all of them are there.
    """
    folder = output / "_build" / "html"
    with _disk.lock(folder), _disk.aside(folder) as beside:
        code = render(beside)
        if code == 0:
            finish(beside / "_build" / "html")
            _disk.swap(beside / "_build" / "html", folder)
            print(f"The book is ready. Open {folder / 'index.html'}")
    return code


def render(output: Path) -> int:
    """Have Jupyter Book write the pages into `_build/html` below `output`;
    returns its exit code.
    """
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    options = [
        "--toc",
        str(ROOT / "book" / "_toc.yml"),
        "--path-output",
        str(output),
        "--all",
        "--quiet",
    ]
    command = [sys.executable, "-c", jupyter_book, "build", str(ROOT), *options, *STRICT]
    return subprocess.run(
        command, stdout=subprocess.DEVNULL
    ).returncode  # warnings and errors go to stderr


# ---- what is made of the records


def with_results(text: str) -> str:
    """`text` with what the records say of the five papers between its result markers."""
    block = f"<!-- results -->\n\n{five_papers()}\n\n<!-- /results -->"
    return re.sub(r"<!-- results -->.*?<!-- /results -->", lambda _: block, text, flags=re.DOTALL)


def five_papers() -> str:
    from hashlab.chapters import five_papers

    return five_papers.readme()


def cover(folder: Path) -> None:
    """Draw where MNIST's images fall in the space of 12-bit codes,
    by an untrained and by a trained network.
    """
    import numpy as np

    from hashlab import codes, data, plots, records

    classes = data.info("mnist").classes
    bits = 12
    run = {"method": "mu_liu", "protocol": "mnist-full", "bits": bits, "seed": 0}
    for name, variant in {"before": "epochs=0 pretrain_epochs=0", "after": "defaults"}.items():
        (record,) = records.load(variant=variant, **run)
        stored = record.codes()
        packed = np.concatenate([stored["query_codes"], stored["database_codes"]])  # (N, 8)
        labels = np.concatenate([stored["query_labels"], stored["database_labels"]])  # (N,)
        counts = np.unique(packed, axis=0, return_counts=True)[1]
        fullest = np.sort(counts)[-len(classes) :]
        share = f"{fullest.sum() / len(packed):.0%} of {len(packed):,} images"
        title = f"{name.title()} training: {share}\non the {len(classes)} commonest codes"
        maps = {title: (codes.unpack(packed, bits=bits), labels.astype(int))}
        picture = io.BytesIO()
        plots.code_maps(maps, classes).savefig(picture, dpi=120, format="png")
        _disk.write(folder / f"cover_{name}.png", picture.getvalue())


def results() -> int:
    """Write the result table into the README and the pictures of the cover;
    returns the exit code.
    """
    path = ROOT / "README.md"
    _disk.write(path, with_results(path.read_text(encoding="utf-8")).encode())
    cover(ROOT / "book" / "_static")
    return 0


def methods() -> int:
    """Write the page of the methods; returns the exit code."""
    import methods_page

    methods_page.write(ROOT / "book")
    return 0


def explorer() -> int:
    """Write the data of the explorer; returns the exit code."""
    import explorer

    explorer.write()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("notebooks", help="execute notebooks/*.py into *.ipynb")
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="a chapter, such as 01_hamming_space"
    )
    command.add_argument(
        "--all", action="store_true", help="also those that are in step with their source"
    )
    command = commands.add_parser("html", help="render the book")
    command.add_argument(
        "--output", type=Path, default=ROOT, metavar="DIR", help="render below DIR/_build"
    )
    commands.add_parser(
        "results", help="write the result table into README.md and draw the cover's pictures"
    )
    commands.add_parser("methods", help="write the page of the methods, book/methods.md")
    commands.add_parser("explorer", help="write what the explorer shows, from its records")
    command = commands.add_parser("seconds", help="time the chapters, and keep how long they take")
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="a chapter; all where none is given"
    )
    chosen = parser.parse_args()
    if chosen.command == "notebooks":
        return notebooks(chosen.names, chosen.all)
    if chosen.command == "html":
        return html(chosen.output.resolve())
    if chosen.command == "seconds":
        return seconds(chosen.names)
    return {"results": results, "methods": methods, "explorer": explorer}[chosen.command]()


if __name__ == "__main__":
    sys.exit(main())
