"""Does the book ask nobody but itself? Every page is opened from disk, and from a server of this machine.

    python book/offline.py [--folder DIR]

It says, and ends with 1, which page asks another host for anything, which request fails, and whether the
pages together are larger than they may be. A look of book/check.py can use `problems` on pages of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from check import PAGES, READY, browser, pages

LARGEST = 30_000_000  # bytes of all pages together
INSIDE = ("data:", "blob:", "about:")  # what a page makes itself


class _Quiet(SimpleHTTPRequestHandler):
    def handle(self) -> None:
        """Answer, unless the browser has gone on to another page."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *words: Any) -> None:
        """Say nothing of each request."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a server of this machine has the files of `folder`."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def problems(program: Any, folder: Path, chosen: list[Path]) -> Iterator[str]:
    """What the chosen pages of `folder` ask for in vain or elsewhere, in the browser `program`."""
    with served(folder) as address:
        for root in (folder.as_uri(), address):
            yield from asked(
                program, root, [path.relative_to(folder).as_posix() for path in chosen]
            )


def asked(program: Any, root: str, names: list[str]) -> Iterator[str]:
    """What these pages below the address `root` ask for in vain or elsewhere."""
    context = program.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    log: list[str] = []
    page.on("request", lambda request: log.extend(_elsewhere(request.url, root)))
    page.on("requestfailed", lambda request: log.append(f"{request.url} cannot be had"))
    page.on("response", lambda response: log.extend(_refused(response)))
    for name in names:
        log.clear()
        page.goto(f"{root}/{name}")
        page.wait_for_function(READY)
        page.wait_for_load_state("networkidle")
        yield from (f"{root.split(':')[0]}, {name}: {line}" for line in log)
    context.close()


def _elsewhere(address: str, root: str) -> list[str]:
    inside = address.startswith((f"{root}/", *INSIDE))
    return [] if inside else [f"asks for {address}"]


def _refused(response: Any) -> list[str]:
    return [f"{response.url} answers {response.status}"] if response.status >= 400 else []


def too_large(folder: Path) -> Iterator[str]:
    """That the pages are larger together than they may be."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        yield f"the pages have {size / 1e6:.1f} MB together, more than {LARGEST / 1e6:.0f}"


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=PAGES, help="of the rendered pages")
    folder = parser.parse_args().folder.resolve()
    every = pages(folder, [])
    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        program = engine.chromium.launch(executable_path=browser(), args=options)
        lines = [*too_large(folder), *problems(program, folder, every)]
    print("\n".join(lines or [f"{len(every)} pages ask nobody but themselves."]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
