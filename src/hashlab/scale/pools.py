"""Pools: tasks are begun, and come back with their results, in whatever order they end.

A process that works calls `make` once; what it gives turns each task into a result. What the tasks
of a process have in common is made there once. A task whose process died is begun again, `TRIES`
times at most: tasks leave nothing behind that a second try could double.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, NamedTuple, Self

TRIES = 5  # of a task that takes its process with it
PAUSE = 1.0  # seconds between two looks at whether there is more room

Call = Callable[[Any], Any]
Make = Callable[[], Call]


class Lost(Exception):
    """A process ended, and what it was doing is not known."""


class Outcome(NamedTuple):
    """What came of a task: its value, or what was raised."""

    value: Any = None
    error: Exception | None = None


@dataclass(eq=False)
class Ticket:
    """A task that was begun, and how often it got lost."""

    task: Any
    lost: int = 0


class Pool(ABC):
    """Does tasks; closed at the end of a `with` block, or by `close`."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise InputError where a machine cannot do these tasks."""

    @abstractmethod
    def room(self) -> int:
        """How many more tasks can be done at once, as things are now."""

    def begin(self, task: Any) -> None:
        self._start(Ticket(task))

    def ended(self, seconds: float | None = PAUSE) -> Iterator[tuple[Any, Outcome]]:
        """Tasks that have ended with what came of them; waits so long for the first one.

        Those that got lost are begun again. One that gets lost too often has `Lost` as its error.
        """
        for ticket, outcome in self._finished(seconds):
            ticket.lost += isinstance(outcome.error, Lost)
            if isinstance(outcome.error, Lost) and ticket.lost < TRIES:
                self._start(ticket)
            else:
                yield ticket.task, outcome

    @abstractmethod
    def _start(self, ticket: Ticket) -> None: ...

    @abstractmethod
    def _finished(self, seconds: float | None) -> list[tuple[Ticket, Outcome]]: ...

    def close(self) -> None:  # noqa: B027 - most of what is done here is over by then
        """Interrupt what is under way, as Ctrl-C does, and wait until that is saved."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def results(pool: Pool, tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each task with its value, as they end; the first error ends it all."""
    waiting = iter(tasks)
    under_way = 0
    more = True
    while more or under_way:
        while more and pool.room() > 0:
            task = next(waiting, waiting)
            more = task is not waiting
            if more:
                pool.begin(task)
                under_way += 1
        for task, outcome in pool.ended():
            under_way -= 1
            if outcome.error is not None:
                raise outcome.error
            yield task, outcome.value


def outcome_of(call: Call, task: Any) -> Outcome:
    """What comes of a task here, as it can be sent to another process."""
    try:
        return Outcome(call(task))
    except Exception as error:
        return Outcome(error=portable(error))


def portable(error: Exception) -> Exception:
    """The error, or its words where it is of a kind that cannot be sent."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if type(copy) is type(error) and str(copy) == str(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


class Here(Pool):
    """This process: one task at a time, done when its result is asked for."""

    def __init__(self, make: Make):
        self._make = make
        self._call: Call | None = None
        self._next: Ticket | None = None

    def room(self) -> int:
        return int(self._next is None)

    def _start(self, ticket: Ticket) -> None:
        self._next = ticket

    def _finished(self, seconds: float | None) -> list[tuple[Ticket, Outcome]]:
        ticket = self._next
        if ticket is None:
            return []
        if self._call is None:
            self._call = self._make()
        try:
            outcome = Outcome(self._call(ticket.task))
        except Exception as error:
            outcome = Outcome(error=error)
        finally:
            self._next = None
        return [(ticket, outcome)]


class Processes(Pool):
    """Some processes of this machine, each of which is made again when it dies.

    They end when this one does, however it ends.
    """

    def __init__(self, make: Make, count: int, first: Callable[[], None] | None = None):
        self._make = make
        self._first = first
        self._count = count
        self._idle: list[_Child] = []
        self._busy: dict[connection.Connection, tuple[_Child, Ticket]] = {}

    def room(self) -> int:
        return self._count - len(self._busy)

    def _start(self, ticket: Ticket) -> None:
        while self._idle:
            child = self._idle.pop()
            with suppress(OSError):  # it died while it had nothing to do
                child.pipe.send(ticket.task)
                self._busy[child.pipe] = child, ticket
                return
            child.end()
        child = _Child(self._make, self._first)
        with suppress(OSError):  # dead already: that is seen where its answer is read
            child.pipe.send(ticket.task)
        self._busy[child.pipe] = child, ticket

    def _finished(self, seconds: float | None) -> list[tuple[Ticket, Outcome]]:
        ready = connection.wait(list(self._busy), seconds) if self._busy else []
        answers = [(pipe, self._busy[pipe][0].answer()) for pipe in ready]
        return [self._settled(pipe, answer) for pipe, answer in answers if answer is not None]

    def _settled(self, pipe: Any, answer: Outcome) -> tuple[Ticket, Outcome]:
        child, ticket = self._busy.pop(pipe)
        if isinstance(answer.error, Lost):
            child.end()
        else:
            self._idle.append(child)
        return ticket, answer

    def close(self) -> None:
        busy = [child for child, _ in self._busy.values()]
        for child in busy:
            child.interrupt()
        for child in (*busy, *self._idle):
            child.end()
        self._busy.clear()
        self._idle.clear()


class _Child:
    """A process that works for this one, and the pipe to it."""

    def __init__(self, make: Make, first: Callable[[], None] | None):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.at_work = False  # whether it has loaded everything
        self._process = context.Process(target=_serve, args=(make, first, other), daemon=True)
        self._process.start()
        other.close()  # so that the pipe ends with the process

    def answer(self) -> Outcome | None:
        """What it sent; None where that was only that it is at work."""
        try:
            answer = self.pipe.recv()
        except Exception:  # the end of the pipe, or half an answer
            return Outcome(error=Lost("its process was killed"))
        self.at_work = True
        return answer

    def interrupt(self) -> None:
        """As Ctrl-C, once it has loaded everything; before that there is nothing to save."""
        while self.pipe.poll() and self.answer() is None:
            pass
        if self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT if self.at_work else signal.SIGTERM)

    def end(self) -> None:
        """Let it go, and wait until it has."""
        self.pipe.close()
        self._process.join()
        self._process.close()


def _serve(make: Make, first: Callable[[], None] | None, pipe: Any) -> None:
    """What a child does until nobody asks any more."""
    if hasattr(os, "setsid"):  # or Ctrl-C would reach it twice
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HASHLAB_PROGRESS"] = "0"
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        call = made(make, first)
        pipe.send(None)
        while True:
            pipe.send(outcome_of(call, pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def made(make: Make, first: Callable[[], None] | None) -> Call:
    """What does tasks in this process; where it cannot be made, what says why to every task."""
    try:
        if first is not None:
            first()
        return make()
    except Exception as error:
        return _Refusal(portable(error))


class _Refusal:
    """Raises its error, whatever is asked."""

    def __init__(self, error: Exception):
        self.error = error

    def __call__(self, task: Any) -> Any:
        raise self.error
