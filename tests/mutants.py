"""Are the tests able to fail? One operator, comparison or number of the package is changed,
and its tests are run.

    python tests/mutants.py [--sample N] [--seed S] [--jobs J] [--anew] [MODULE …]

`mutants.toml` names the modules with the tests that are to notice, and the changes that nobody can
notice, with the reason; a change to * is any change of that statement. The changes are those of
cosmic-ray. Every change is tried in a process forked from this one, which has loaded torch and the
like but nothing of hashlab, and sees the changed source instead of the file. What was caught is
kept in _build/mutants.jsonl and not tried again; --anew forgets it. Ends with 1 unless at least
95 % of those that can be noticed are caught, and all others are listed.
"""

import argparse
import ast
import collections
import fnmatch
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT, OUTPUT = (
    ROOT / "_build" / "mutants.jsonl",
    ROOT / "_build" / "mutants.txt",
)  # the last tests that were run
HEAVY = (  # loaded once, before the forks
    "hypothesis.extra.numpy", "numba", "PIL.Image", "pytest", "scipy.linalg", "scipy.stats", "sklearn.cluster",
    "sklearn.datasets", "sklearn.metrics", "torch", "torch.nn.functional", "torchmetrics", "torchvision", "tqdm",
)  # fmt: skip
OPERATORS = (  # names as cosmic-ray's; the neighbour of each, for it is the one that is seen last
    *(f"ReplaceBinaryOperator_{pair}" for pair in (
        "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul", "RShift_LShift",
        "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd",
    )),
    *(f"ReplaceComparisonOperator_{pair}" for pair in (
        "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
    )),
    "ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_Invert",
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop",
)  # fmt: skip
SHARE = 0.95
MEMORY = 16 << 30  # bytes of address space of a child


@dataclass(frozen=True)
class Mutant:
    """One change: where it stands, in words that survive a move of the file,
    and the source that holds it.
    """

    module: str
    function: str
    change: str
    source: str

    @property
    def key(self):
        return f"{self.module.rsplit('.', 1)[-1]}:{self.function}", self.change

    @property
    def names(self):
        """What it may be called among those that nobody can notice."""
        function, change = self.key
        before, _, _ = change.partition(" -> ")
        return {(function, change), (function, f"{before} -> *")}

    @property
    def digest(self):
        return hashlib.sha256(f"{self.module}\0{self.source}".encode()).hexdigest()[:16]


# ---- the changes


def possible(source):
    """Every (operator, occurrence) that can change a source."""
    from cosmic_ray.ast import Visitor, get_ast
    from cosmic_ray.plugins import get_operator

    class Count(Visitor):
        def visit(self, node):
            for name, operator in operators.items():
                counts[name] += len(list(operator.mutation_positions(node)))
            return node

    operators, counts = (
        {name: get_operator(f"core/{name}")() for name in OPERATORS},
        collections.Counter(),
    )
    Count().walk(get_ast(source))
    return [(name, number) for name in OPERATORS for number in range(counts[name])]


def mutant(module, source, name, occurrence):
    """The mutant, or None where only an annotation, a guard or the words of an error change,
    or nothing that counts.
    """
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    changed = mutate_code(source, get_operator(f"core/{name}")(), occurrence)
    pairs = zip(statements(ast.parse(source)), statements(ast.parse(changed)), strict=True)
    for (function, before), (_, after) in pairs:
        guard = after == before.replace(
            "strict=True", "strict=False"
        )  # of zip, where the lengths are always the same
        if before != after and not before.startswith("raise ") and not guard:
            return Mutant(module, function, f"{before} -> {after}", changed)
    return None


def statements(node, function=""):
    """Each statement without its body and annotations, as (function or class it stands in,
    text), in order.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            inner = f"{function}.{child.name}".lstrip(".") if hasattr(child, "name") else function
            yield inner or "module", header(child)
            yield from statements(child, inner)
        elif isinstance(child, ast.excepthandler | ast.match_case):
            yield from statements(child, function)


def header(statement):
    """The text of a statement without what stands in it, and without annotations."""
    plain = ast.parse(ast.unparse(statement)).body[0]
    for part in ("body", "orelse", "handlers", "finalbody", "cases"):
        if isinstance(getattr(plain, part, None), list):
            setattr(plain, part, [ast.Pass()] if part == "body" else [])
    for node in ast.walk(plain):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(0) if isinstance(node, ast.AnnAssign) else None)
    text = ast.unparse(plain) if not isinstance(plain, ast.Match | ast.Try) else ""
    return " ".join(text.removesuffix("pass").split())


# ---- one trial


class Changed:
    """Finds one module as the changed source, under the name of its file."""

    def __init__(self, module, source):
        self.module, self.source = module, source

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader.get_code = lambda _: compile(
            self.source, spec.origin, "exec", dont_inherit=True
        )
        return spec


def run_tests(module, source, files, limit):
    """Run in the child: the tests of a changed module; returns pytest's exit code."""
    import numba
    import pytest

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(
        resource.RLIMIT_CPU, (limit, limit)
    )  # of the processor: others may be at work
    signal.alarm(20 * limit)  # one that sleeps
    sys.meta_path.insert(0, Changed(module, source))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HASHLAB_DATA"] = os.environ["HASHLAB_RESULTS"] = folder
        if "njit" in source:  # compiled code is kept by the name and date of the file
            os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = folder
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
            "1"  # none is needed, and all take their time
        )
        without = [
            word
            for plugin in ("cacheprovider", "unraisableexception")
            for word in ("-p", f"no:{plugin}")
        ]
        words = [
            "-x",
            "-q",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--basetemp={folder}/tmp",
        ]
        return pytest.main([*words, *without, *files])


def start(module, source, files, limit):
    """The process of a child that tries a change."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = int(run_tests(module, source, files, limit))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def outcome(status):
    """What an exit status means: survived, caught, or of no use because there was no test."""
    if os.WIFSIGNALED(status):
        return "caught"
    return {0: "survived", 5: "untested"}.get(os.WEXITSTATUS(status), "caught")


def seconds_needed(plan):
    """Processor seconds that the tests of each module take with nothing changed;
    ends everything where one fails.
    """
    needed = {}
    for module, files in plan.items():
        for file in set(files) - needed.keys():
            _, status, used = os.wait4(start(module, source_of(module), [file], 1000), 0)
            if outcome(status) != "survived":
                sys.exit(f"with nothing changed, {file} does not pass: see {OUTPUT}")
            needed[file] = used.ru_utime + used.ru_stime
    return {module: sum(needed[file] for file in files) for module, files in plan.items()}


def try_all(mutants, plan, jobs, tell):
    """Try every mutant, `jobs` at once; `tell(mutant, outcome, seconds)` for each."""
    needed = seconds_needed(
        {module: plan[module] for module in sorted({one.module for one in mutants})}
    )
    waiting, running = list(reversed(mutants)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            one = waiting.pop()
            child = start(
                one.module, one.source, plan[one.module], int(3 * needed[one.module] + 15)
            )
            running[child] = one, time.monotonic()
        child, status = os.wait()
        one, begun = running.pop(child)
        tell(one, outcome(status), time.monotonic() - begun)


# ---- all of them


def file_of(module):
    base = ROOT / "src" / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def source_of(module):
    return file_of(module).read_text()


def planned(table):
    """Module -> its tests, of the tables in mutants.toml;
    a name with a star stands for all that begin so.
    """
    found = sorted((ROOT / "src").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in found]
    plan = {}
    for pattern, tests in (*table["tests"].items(), *table["also"].items()):
        for module in fnmatch.filter(plan if pattern in table["also"] else modules, pattern):
            for file, _, one in (test.partition("::") for test in tests):
                plan.setdefault(module, []).append(f"tests/{file}.py" + (f"::{one}" if one else ""))
    return {module: list(dict.fromkeys(tests)) for module, tests in plan.items()}


def chosen(plan, sample, seed):
    """All mutants of the modules, or a sample of them, drawn before it is known which are none."""
    sites = [(module, *site) for module in plan for site in possible(source_of(module))]
    if sample:
        random.Random(seed).shuffle(sites)
    mutants, seen = [], set()
    for module, name, occurrence in sites:
        one = mutant(module, source_of(module), name, occurrence)
        if one and one.digest not in seen:
            seen.add(one.digest)
            mutants.append(one)
        if sample and len(mutants) == sample:
            break
    return sorted(mutants, key=lambda one: one.module)


def remembered():
    lines = KEPT.read_text().splitlines() if KEPT.is_file() else []
    return {line["digest"] for line in map(json.loads, lines) if line["outcome"] == "caught"}


def main(words):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="only these, by their full name"
    )
    parser.add_argument("--sample", type=int, default=int(os.environ.get("MUTANTS") or 0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--list", action="store_true", help="print the changes, try none")
    asked = parser.parse_args(words)

    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    equal = {(one["function"], one["change"]) for one in table.get("equivalent", [])}
    plan = planned(table)
    plan = {
        module: files
        for module, files in plan.items()
        if not asked.modules or module in asked.modules
    }
    mutants = chosen(plan, asked.sample, asked.seed)
    if asked.list:
        print("\n".join(f"{one.module} {one.function}: {one.change}" for one in mutants))
        return 0
    if asked.anew:
        KEPT.unlink(missing_ok=True)
    known, tally, survivors = remembered(), collections.defaultdict(collections.Counter), []
    for one in mutants:
        if one.digest in known:
            tally[one.module]["caught"] += 1
    left = [one for one in mutants if one.digest not in known]
    print(f"{len(mutants)} changes of {len(plan)} modules, {len(left)} to try", flush=True)
    os.chdir(ROOT)
    KEPT.parent.mkdir(exist_ok=True)
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # else every child looks through all of torch
    sys.dont_write_bytecode = False  # of the tests, which are the same for all

    def tell(one, came, seconds):
        came = "equivalent" if came == "survived" and one.names & equal else came
        tally[one.module][came] += 1
        with KEPT.open("a") as out:
            function, change = one.key
            line = {"digest": one.digest, "outcome": came, "function": function, "change": change}
            out.write(json.dumps(line | {"seconds": round(seconds, 1)}, ensure_ascii=False) + "\n")
        if came not in ("caught", "equivalent"):
            survivors.append(one)
            print(f"{came}: {one.module} {one.function}: {one.change}", flush=True)

    try_all(left, plan, asked.jobs, tell)
    return report(tally, survivors)


def report(tally, survivors):
    """Print how many changes of each module were tried and caught; returns the exit code."""
    for module, counts in sorted(tally.items()):
        print(
            f"{module}: tried {counts.total()}, "
            f"{', '.join(f'{word} {n}' for word, n in sorted(counts.items()))}"
        )
    every = sum(tally.values(), collections.Counter())
    noticeable = every.total() - every["equivalent"]
    share = every["caught"] / max(1, noticeable)
    print(
        f"mutants: tried {every.total()}, shown to be equivalent {every['equivalent']}, caught "
        f"{every['caught']} ({share:.1%} of the others), not caught {len(survivors)}"
    )
    return 1 if survivors or share < SHARE else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
