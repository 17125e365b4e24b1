"""The shape of the project: verbs are scripts, nouns are modules, and help is answered at once."""

import ast
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FILES = {path.stem: path for path in ROOT.glob("*.py")}
SCRIPTS = sorted(name for name, path in FILES.items() if 'if __name__ == "__main__"' in path.read_text())
MODULES = sorted(FILES.keys() - set(SCRIPTS))


def imports(path):
    """Names of all modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_both_kinds_are_there():
    assert {"train", "optimize_threshold", "evaluate", "visualize", "make_sample_data"} <= set(SCRIPTS)
    assert {"unet", "dataset", "losses", "metrics", "augment", "runs"} <= set(MODULES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_script_is_imported(name):
    assert not set(imports(FILES[name])) & set(SCRIPTS)


@pytest.mark.parametrize("name", MODULES)
def test_only_one_module_knows_tensorflow(name):
    assert ("tensorflow" in set(imports(FILES[name]))) == (name == "model_files")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_needs_no_keras_and_explains_every_constant(name):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{name}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path(r'{FILES[name]}', run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'keras', 'tensorflow', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "default:" in result.stdout
    # a flag whose constant has no trailing comment would show its default alone
    assert not re.search(r"^ +--[a-z-]+ [A-Z\[. \]]+\(default", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_imported_without_running(name):
    code = f"import sys; sys.argv = ['x', '--bad']; import {name}; assert callable({name}.main)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
