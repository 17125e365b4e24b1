"""The shape of the project: verbs are scripts, nouns are modules, and help is answered at once."""

import ast
import itertools
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ROOMS = ("", "scenes", "synthetic")  # folders of modules; "": the top, where the scripts are, too
FILES = {
    ".".join(filter(None, (room, path.stem))): path
    for room in ROOMS
    for path in (ROOT / room).glob("*.py")
    if path.stem != "__init__"
}
SCRIPTS = sorted(name for name, path in FILES.items() if 'if __name__ == "__main__"' in path.read_text())
MODULES = sorted(FILES.keys() - set(SCRIPTS))
LAZY = {  # modules that import within functions: the number of places, and why they cannot import at their top
    "adaptation": (1, "cross_dataset.py imports it before Keras"),
    "architecture": (1, "train.py checks the constants before Keras, and only an encoder needs it for that"),
    "devices": (5, "it is the module that imports Keras, and the backend decides on the others"),
    "model_files": (2, "all scripts import it before Keras, and TensorFlow is not there under other backends"),
    "pictures": (2, "all scripts import it, and rasterio takes 0.1 s"),
    "runs": (1, "all scripts import it before Keras"),
    "scenes.clouds": (1, "ukis-csmask may not be installed"),
    "scenes.cluster": (1, "Dask may not be installed"),
}
HEAVY = "keras tensorflow matplotlib rasterio pyogrio geopandas pandas pyproj shapely sklearn skimage".split()
HEAVY += [f"scipy.{part}" for part in ("ndimage", "optimize", "sparse", "special", "stats")]
HELP_SECONDS = 0.3  # of processor time, beside Python's start and the import of NumPy and h5py


def imports(path, lazy=True):
    """Names of all modules a file imports, dotted where they lie in a folder; lazy: those within functions, too."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lazy_places(path):
    """Count the places within functions where a file imports: lines in a row, among them an `if` that only imports."""

    def only_imports(node):
        if isinstance(node, ast.If):
            return all(map(only_imports, node.body + node.orelse))
        return isinstance(node, ast.Import | ast.ImportFrom)

    def places(node):
        for name in ("body", "orelse", "handlers", "finalbody"):
            statements = getattr(node, name, [])
            yield from (True for only, _ in itertools.groupby(statements, only_imports) if only)
            for statement in itertools.filterfalse(only_imports, statements):
                yield from places(statement)

    tree = ast.parse(path.read_text())
    return sum(sum(places(node)) for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))


def reached(name, lazy=True):
    """Modules of the project that a module imports, and those that they import, and so on."""
    found, wanted = set(), [name]
    while wanted:
        for other in set(imports(FILES[wanted.pop()], lazy)) & FILES.keys() - found:
            found.add(other)
            wanted.append(other)
    return found


def test_both_kinds_are_there():
    assert {"train", "optimize_threshold", "evaluate", "visualize", "make_sample_data"} <= set(SCRIPTS)
    assert {"unet", "dataset", "losses", "metrics", "augment", "runs"} <= set(MODULES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_script_is_imported(name):
    assert not set(imports(FILES[name])) & set(SCRIPTS)


@pytest.mark.parametrize("name", MODULES)
def test_only_one_module_knows_tensorflow(name):
    assert ("tensorflow" in set(imports(FILES[name]))) == (name == "tensorflow_parts")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_lazily_in_one_place(name):
    assert lazy_places(FILES[name]) <= 1


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_at_its_top(name):
    places, reason = LAZY.get(name, (0, "nothing in the way"))
    assert lazy_places(FILES[name]) == places, reason


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_itself_by_way_of_others(name):
    assert name not in reached(name)


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_rooms_are_entered_without_keras(name):
    for other in {name} | reached(name, lazy=False):
        assert "keras" not in {imported.split(".")[0] for imported in imports(FILES[other], lazy=False)}, other
    assert "dataset" not in reached(name), "scenes and synthetic ground need no loader of patches"


def test_no_file_outgrows_the_head():
    long = {path.name for path in FILES.values() if len(path.read_text().splitlines()) > 350}
    assert not long


def test_the_sqlite_of_gdal_is_loaded_before_that_of_tensorflow():
    """Loaded after it, GeoPackages would be written without their spatial index."""
    code = "import sys, types\nsys.modules['tensorflow'] = types.ModuleType('tensorflow')\nimport scenes"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "import scenes before TensorFlow" in result.stderr
    code = "import scenes, sys; assert 'pyogrio' in sys.modules and 'keras' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_quick_and_explains_every_constant(name):
    code = (
        "import runpy, sys, time\n"
        "import h5py, numpy\n"
        "began = time.process_time()\n"
        f"sys.argv = ['{name}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path(r'{FILES[name]}', run_name='__main__')\n"
        "finally:\n"
        f"    heavy = {set(HEAVY)} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    print(time.process_time() - began, file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert float(result.stderr) < HELP_SECONDS
    assert "default:" in result.stdout
    # a flag whose constant has no trailing comment would show its default alone
    assert not re.search(r"^ +--[a-z-]+ [A-Z\[. \]]+\(default", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_imported_without_running(name):
    code = f"import sys; sys.argv = ['x', '--bad']; import {name}; assert callable({name}.main)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
