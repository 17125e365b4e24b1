"""The shape of the project: verbs are scripts, nouns are modules, rooms import downwards, and help is answered at once.

Each test lists what breaks a rule.
"""

import ast
import functools
import itertools
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.running import ROOT

ROOMS = ("patches", "networks", "scores", "training", "scenes", "synthetic", "experiments", "benchmarks")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in (*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py")))
    if path.stem != "__init__"
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = {name for name, path in FILES.items() if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")}
MODULES = FILES.keys() - SCRIPTS
# From the ground up. Modules at the top level are named; a room stands for all its modules. Each imports from floors
# below its own, or from its own room; scripts, experiments and benchmarks are above all of them.
FLOORS = (
    ("script", "product_names", "mask_values"),
    ("records", "locks", "bands", "metrics", "rendering"),
    ("map_files", "runs", "plots"),
    ("augment", "losses", "unet", "patches"),
    ("dataset", "networks"),
    ("scores",),
    ("training",),
    ("scenes", "synthetic"),
)
LAZY = {  # modules that import within functions: the number of places, and why they cannot import at their top
    "networks.architecture": (1, "train.py checks the constants before Keras, and only an encoder needs it for that"),
    "networks.model_files": (3, "all scripts import it before Keras, and TensorFlow is not there under other backends"),
    "patches.image_files": (1, "all scripts import it, and rasterio takes 0.1 s"),
    "patches.resizing": (1, "all scripts import it, and rasterio takes 0.1 s"),
    "patches.stated_words": (1, "all scripts import it, and rasterio takes 0.1 s"),
    "scenes.clouds": (1, "ukis-csmask may not be installed"),
    "scenes.dask_cluster": (1, "Dask may not be installed"),
    "networks.engines": (1, "OpenVINO may not be installed"),
    "networks.keras_start": (2, "it is the module that imports Keras, and PyTorch may not be installed"),
    "training.devices": (2, "it is imported before Keras, and JAX may not be installed"),
}
HEAVY = "keras tensorflow ml_dtypes matplotlib rasterio pyogrio geopandas pandas pyproj shapely sklearn skimage".split()
HEAVY += [f"scipy.{part}" for part in ("ndimage", "optimize", "sparse", "special", "stats")]
HELP_SECONDS = 0.6  # of processor time, beside Python, NumPy and h5py; half of it on a core that does nothing else


def imports(name, lazy=True):
    """Names of all modules a file imports, dotted where they lie in a room; lazy: those within functions, too."""
    for node in ast.walk(TREES[name]) if lazy else TREES[name].body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lazy_places(name):
    """Count the places within functions where a file imports: lines in a row, among them an `if` that only imports."""

    def only_imports(node):
        if isinstance(node, ast.If):
            return all(map(only_imports, node.body + node.orelse))
        return isinstance(node, ast.Import | ast.ImportFrom)

    def groups(node):
        for part in ("body", "orelse", "handlers", "finalbody"):
            statements = getattr(node, part, [])
            yield from (True for only, _ in itertools.groupby(statements, only_imports) if only)
            for statement in itertools.filterfalse(only_imports, statements):
                yield from groups(statement)

    definitions = (node for node in TREES[name].body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return sum(sum(groups(node)) for node in definitions)


def reached(name, lazy=True):
    """Modules of the project that a module imports, and those that they import, and so on."""
    modules, pending = set(), [name]
    while pending:
        for other in set(imports(pending.pop(), lazy)) & FILES.keys() - modules:
            modules.add(other)
            pending.append(other)
    return modules


def floor(name):
    """The floor of a module, from 0 at the ground."""
    room = name.partition(".")[0]
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


def test_both_kinds_are_there():
    assert {"train", "optimize_threshold", "evaluate", "visualize", "make_sample_data"} <= SCRIPTS
    assert {"unet", "dataset", "losses", "metrics", "augment", "runs"} <= MODULES


def test_the_front_door_is_short():
    """`ls` shows the stages and what a reader opens first."""
    assert len(list(ROOT.glob("*.py"))) <= 30
    assert 12 <= sum("." not in name for name in SCRIPTS) <= 13


def test_imports_go_downwards():
    upwards = [
        f"{name} -> {other}"
        for name in MODULES
        for other in set(imports(name)) & FILES.keys()
        if name.partition(".")[0] != other.partition(".")[0] and floor(other) >= min(floor(name), len(FLOORS))
        if name.partition(".")[0] not in ("experiments", "benchmarks")
    ]
    assert not upwards


@functools.cache
def names_in(name):
    """The names at the top of a module: what it defines, assigns and imports."""
    names = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_what_is_imported_is_there():
    """Experiments and benchmarks have few tests, so that a name which moved would break them unseen."""
    missing = {
        (name, node.module, alias.name)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in TREES
        for alias in node.names
        if alias.name not in names_in(node.module)
    }
    for name, tree in TREES.items():
        modules = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        modules |= {alias.name: alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        stored |= {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in stored:
                module = modules.get(node.value.id)
                if module in TREES and node.attr not in names_in(module) and not node.attr.startswith("__"):
                    missing.add((name, module, node.attr))
    assert not missing


def test_no_stage_is_imported():
    stages = {name for name in SCRIPTS if "." not in name}
    importers = [name for name in FILES if not name.startswith("benchmarks.")]  # which time what is in a stage
    assert not [(name, other) for name in importers for other in set(imports(name)) & stages]


def test_no_module_imports_itself_by_way_of_others():
    assert not [name for name in MODULES if name in reached(name)]


def test_only_one_module_knows_tensorflow():
    own = [name for name in FILES if not name.startswith("benchmarks.") and "tensorflow" in set(imports(name))]
    assert own == ["networks.tensorflow_parts"]


def test_imports_stand_at_the_top():
    """A script imports what is slow in one place, where the checks end and the work begins; LAZY lists the modules."""
    counts = {name: lazy_places(name) for name in FILES if not name.startswith(("benchmarks.", "experiments."))}
    allowed = {name: 1 for name in SCRIPTS} | {name: number for name, (number, _) in LAZY.items()}
    assert not {name: number for name, number in counts.items() if number > allowed.get(name, 0)}
    assert not {name for name, (number, _) in LAZY.items() if counts[name] < number}, "LAZY lists more than there is"


def test_scenes_and_synthetic_ground_are_entered_without_keras():
    wrong = []
    for name in (name for name in FILES if name.startswith(("scenes.", "synthetic."))):
        for other in {name} | reached(name, lazy=False):
            if "keras" in {each.partition(".")[0] for each in imports(other, lazy=False)} or other == "dataset":
                wrong.append(f"{name} by way of {other}")
    assert not wrong


def test_files_fit_in_the_head():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    long = sorted(name for name, size in sizes.items() if size > 300)
    assert len(long) <= len(sizes) // 20, long
    assert max(sizes.values()) <= 400


def test_no_test_file_imports_another():
    """What two of them need is in a module of its own under tests/."""
    importers = {path.name: path.read_text(encoding="utf-8") for path in TESTS}
    assert not [name for name, text in importers.items() if re.search(r"^\s*(from|import) (tests\.)?test_", text, re.M)]


def test_test_files_are_split_by_subject():
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS}
    assert not {name: size for name, size in sizes.items() if size > 400}


def test_the_sqlite_of_gdal_is_loaded_before_that_of_tensorflow():
    """Loaded after it, GeoPackages would be written without their spatial index."""
    code = "import sys, types\nsys.modules['tensorflow'] = types.ModuleType('tensorflow')\nimport scenes"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "import scenes before TensorFlow" in result.stderr
    code = "import scenes, sys; assert 'pyogrio' in sys.modules and 'keras' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def help_of(name):
    """What is wrong with --help of a script; "" if nothing."""
    code = (
        "import runpy, sys, time\n"
        "import h5py, numpy\n"
        "began = time.process_time()\n"
        f"sys.argv = ['{name}.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "try:\n"
        f"    runpy.run_path(r'{FILES[name]}', run_name='__main__')\n"
        "finally:\n"
        f"    heavy = {set(HEAVY)} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    print(time.process_time() - began, file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        return f"{name}: {result.stderr}"
    if float(result.stderr) > HELP_SECONDS:
        return f"{name} takes {result.stderr.strip()} s"
    if "default:" not in result.stdout:
        return f"{name} shows no default"
    # a flag whose constant has no trailing comment would show its default alone
    bare = re.search(r"^ +--[a-z-]+ [A-Z\[. \]]+\(default", result.stdout, re.MULTILINE)
    return f"{name} does not explain {bare[0].split()[0]}" if bare else ""


def test_help_is_quick_and_explains_every_constant():
    with ThreadPoolExecutor(2) as pool:
        wrong = [text for text in pool.map(help_of, sorted(name for name in SCRIPTS if "." not in name)) if text]
    assert not wrong


def test_scripts_can_be_imported_without_running():
    names = sorted(name for name in SCRIPTS if "." not in name)
    code = f"import sys; sys.argv = ['x', '--bad']; import {', '.join(names)}"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
