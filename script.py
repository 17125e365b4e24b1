"""Common parts of all scripts: constants as flags, their checks, notes and errors in one line, a progress bar.

Light to import, so that `--help` and errors of the user are answered at once.
"""

import argparse
import ast
import contextlib
import importlib.metadata
import io
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
import tokenize
from pathlib import Path
from typing import NamedTuple

FLAG = re.compile(r"--[a-z][a-z-]*")
RULER = re.compile(r"# -{5,} (.+)")  # a comment before constants: the title of their group in --help
OPTIONAL = {"int": int, "float": float, "str": str}  # words that give the type of a constant that may be None
interrupts, deferred = [], []  # Ctrl-C presses so far; open blocks that defer the first
flags_given = set()  # names of the constants that the command line set


class UserError(Exception):
    """A mistake that the user can correct; the text says what is wrong and what to do."""


class Constant(NamedTuple):
    """A constant of a script.

    Attributes:
        value: of any plain type. kind: its type, or that of its items. comment: behind it. group: title of its group in
            --help. optional: whether it may be None.
    """

    value: object
    kind: type
    comment: str
    group: str
    optional: bool


def constants(script):
    """Find the constants of a script: UPPERCASE names with plain values before its first function.

    Args:
        script: globals of the script, from which the current values are taken.

    Returns:
        {name: Constant} in the order of the file. Lists become tuples. The comment of a constant that may be None
        starts with its type: `THRESHOLD = None  # float: of the probability`.
    """
    with tokenize.open(script["__file__"]) as file:
        source = file.read()
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens}
    rulers = {token.start[0]: match[1] for token in tokens if (match := RULER.fullmatch(token.string))}
    listed = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            break
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            name = node.targets[0].id
            value = tuple(script[name]) if isinstance(script[name], list) else script[name]
            comment, kind = comments.get(node.end_lineno, ""), type(value)
            word, _, rest = comment.partition(": ")
            optional = word in OPTIONAL  # even if the value is not None
            if optional:
                kind, comment = OPTIONAL[word], rest
            elif isinstance(value, tuple):
                kind = type(value[0]) if value else str
            if kind in (bool, int, float, str):
                above = [line for line in rulers if line < node.lineno]
                listed[name] = Constant(value, kind, comment, rulers[max(above)] if above else "", optional)
    return listed


def parse_flags(script, arguments):
    """Read the constants of a script (its globals) that the command line overrides; return {NAME: value}.

    EPOCHS = 60 becomes --epochs 60. A flag has the type of its constant: a float accepts a whole number but not the
    other way round, True/False become --flag/--no-flag, and a tuple takes any number of values. A constant that may be
    None takes `none`, too. --help lists the flags in groups, by the rulers between the constants, with the ranges and
    choices of the dictionaries RANGES and CHOICES.

    Raises:
        UserError: the command line is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=Path(script["__file__"]).name,
        usage="%(prog)s [flags]",
        description=script["__doc__"],
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )

    def fail(message):
        raise UserError(f"{message} (see --help)")

    parser.error = fail
    parser.add_argument("--version", action=_Version, nargs=0, help="show revision and packages, and exit")
    known, groups = constants(script), {"": parser}
    for flag in arguments:
        name = _constant_of(flag)
        if flag.startswith("--") and name in script.get("FORMER_NAMES", {}):
            fail(f"{flag.partition('=')[0]} is called {flag_of(script['FORMER_NAMES'][name])} now")
    for name, constant in known.items():
        if constant.group not in groups:
            groups[constant.group] = parser.add_argument_group(constant.group)
        _add_flag(groups[constant.group], name, constant, script)
    flags = vars(parser.parse_args(_with_exponents(arguments)))
    choices = script.get("CHOICES", {})
    return {
        name: _values(value, choices.get(name, ())) if isinstance(value, list) else value
        for name, value in flags.items()
    }


def _values(listed, choices):
    """Return the values of a flag that takes several as a tuple; the single word none stands for none of them.

    choices: of the flag, where none may be one of them.
    """
    return () if [str(value).lower() for value in listed] == ["none"] and "none" not in choices else tuple(listed)


def _add_flag(group, name, constant, script):
    """Add the flag of a constant to a group of --help."""
    value, kind, comment, _, optional = constant
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
    if name in script.get("CHOICES", {}):
        comment += f"; choices: {', '.join(script['CHOICES'][name])}"
    if name in script.get("RANGES", {}):
        comment += f"; {range_text(*script['RANGES'][name])}"
    default = "none" if shown in ("", None) else shown
    options = {"dest": name, "help": f"{comment} (default: {default})".replace("%", "%%")}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif isinstance(value, tuple):
        options |= {"nargs": "*", "type": _optional(kind) if optional else kind, "metavar": "VALUE"}
    else:
        options |= {"type": kind, "metavar": {int: "N", float: "X", str: "TEXT"}[kind]}
        if optional:
            options["type"] = _optional(kind)
    group.add_argument(flag_of(name), **options)


class _Version(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        packages = "".join(f", {name} {number}" for name, number in versions(("tensorflow", "keras")).items())
        print(f"{parser.prog}: revision {revision()}, Python {platform.python_version()}{packages}")
        parser.exit()


def _optional(kind):
    """Return a function that reads a value of a type, or None from the word none."""

    def read(text):
        return None if text.lower() == "none" else kind(text)

    read.__name__ = kind.__name__  # argparse names it in its message
    return read


def flag_of(name):
    """Return the flag of a constant: --batch-size of BATCH_SIZE."""
    return "--" + name.lower().replace("_", "-")


def flags_text(script, without=()):
    """Return the constants of a script (its globals) as they are now, as flags that can be typed.

    without: names of constants that are left out.
    """
    words = []
    for name, (value, kind, *_) in constants(script).items():
        if name in without:
            continue
        if kind is bool:
            words.append(flag_of(name) if value else flag_of(f"NO_{name}"))
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [flag_of(name), *(shlex.quote(f"{each}") for each in values if each is not None)]
            words += ["none"] if value in (None, ()) else []
    return " ".join(words)


def _constant_of(flag):
    """Return the name of the constant of a flag: BATCH_SIZE of --batch-size and of --batch-size=8."""
    return flag.partition("=")[0].removeprefix("--").removeprefix("no-").upper().replace("-", "_")


def _with_exponents(arguments):
    """Join `--nodata -3.4e38` to `--nodata=-3.4e38`, because argparse takes -3.4e38 for a flag."""
    joined = []
    for argument in arguments:
        if re.fullmatch(r"-(\d+\.?\d*|\.\d+)e[+-]?\d+|-inf|-nan", argument, re.IGNORECASE) and FLAG.fullmatch(
            (joined or [""])[-1]
        ):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def adopt(script, values):
    """Give constants of a script (its globals) other values, except those that flags set to something else.

    Returns (adopted, refused): {NAME: value} of the constants that changed, and of those that the flags keep from it.
    """
    adopted, refused = {}, {}
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        if name in script and script[name] != value:
            (refused if name in flags_given else adopted)[name] = value
    script.update(adopted)
    return adopted, refused


def start(main):
    """Run a script: read and check its constants, call `main()`, and report errors in one line.

    A UserError or OSError ends with exit status 2, Ctrl-C with 130.
    """
    script = main.__globals__
    name = Path(script["__file__"]).name
    os.environ["MPLBACKEND"] = "Agg"  # a notebook sets one of its own, which may not be installed here
    # lines keep their order when both streams go to one log; a terminal of few letters shows ? for others
    sys.stdout.reconfigure(line_buffering=True, errors="replace")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _interrupt)
    try:
        flags = parse_flags(script, sys.argv[1:])
        flags_given.update(flags)
        script.update(flags)
        check_constants(script)
        main()
    except UserError as error:
        sys.exit(_complain(f"{name}: error: {with_flags(str(error), constants(script))}"))
    except OSError as error:  # such as a full disk or a read-only folder: the system's message is clear enough
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{name}: error: {where}{error.strerror or error}"))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def with_flags(text, names):
    """Write the names of constants in a message as the flags that a user types: EPOCHS becomes --epochs."""
    alone = "|".join(sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w/.$-])({alone})(?![\w/.-])", lambda m: flag_of(m[1]), text)


def _interrupt(number, frame):
    interrupts.append(number)
    if not (deferred and len(interrupts) == 1):
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_deferred():
    """Defer the first Ctrl-C within the block until `heed_interrupt` is called."""
    deferred.append(True)
    try:
        yield
    finally:
        deferred.pop()


def heed_interrupt():
    """Raise KeyboardInterrupt if Ctrl-C was pressed: an exception in a garbage collector's callback is lost."""
    if interrupts:
        raise KeyboardInterrupt


def _complain(line):
    print(line, file=sys.stderr)
    return 2


# ---------------------------------------------------------------------- checks


def check_constants(script):
    """Raise UserError for a constant outside its range in RANGES, or that is none of its values in CHOICES.

    RANGES: {NAME: (lowest, highest or None)}. CHOICES: {NAME: values}. None is accepted; all items of a tuple are
    checked.
    """
    for name, limits in script.get("RANGES", {}).items():
        for value in _items(script[name]):
            if not limits[0] <= value <= (value if limits[1] is None else limits[1]):  # NaN fails, too
                raise UserError(f"{name} is {value}: it must be {range_text(*limits)}")
    for name, values in script.get("CHOICES", {}).items():
        if wrong := [value for value in _items(script[name]) if value not in values]:
            raise UserError(f"{name}: {', '.join(map(repr, wrong))} is none of {', '.join(values)}")


def _items(value):
    """Return the items of a constant as a list: of a tuple all, of None none."""
    if isinstance(value, tuple | list):
        return list(value)
    return [] if value is None else [value]


def range_text(low, high):
    """Format a range: at least 1; between 0 and 1."""
    return f"at least {low}" if high is None else f"between {low} and {high}"


# ---------------------------------------------------------------------- what is printed


def note(text):
    """Print what a user should know, and need not act on."""
    print(f"note: {text}")


def warn(text):
    """Print what makes a result worse than it looks."""
    print(f"warning: {text}")


def versions(packages):
    """Return {package: version} of those that are installed."""
    numbers = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            numbers[package] = importlib.metadata.version(package)
    return numbers


def revision():
    """Return the git commit of the source, followed by "+" if a Python file was changed; "unknown" outside a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        status = subprocess.run([*git, "status", "--porcelain", "-uno", "--", "*.py"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")


def progress(iterable, label, total=None):
    """Iterate with a progress bar on stderr, or with one line at the end if stderr is not a terminal.

    tqdm can print no such line, so a log would lack the number of items and the time.
    """
    total = len(iterable) if total is None else total
    began, shown, done = time.monotonic(), 0.0, 0
    live = sys.stderr.isatty()
    for done, item in enumerate(iterable, 1):
        yield item
        heed_interrupt()
        now = time.monotonic()
        if live and (now - shown > 0.2 or done == total):
            shown = now
            left = (now - began) / done * (total - done)
            bar = "#" * (30 * done // max(total, 1))
            print(f"\r{label} [{bar:<30}] {done}/{total}, {left:.0f} s left ", end="", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{chr(10) if live else ''}{label}: {done} in {seconds:.1f} s", file=sys.stderr)
