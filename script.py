"""Common parts of all scripts: constants as flags, errors in one line, a progress bar.

Light to import, so that `--help` and errors of the user are answered at once.
"""

import argparse
import ast
import contextlib
import io
import re
import signal
import sys
import time
import tokenize
from pathlib import Path

FLAG = re.compile(r"--[a-z][a-z-]*")
OPTIONAL = {"int": int, "float": float, "str": str}  # words that give the type of a constant that may be None
interrupts, deferred = [], []  # Ctrl-C presses so far; open blocks that defer the first
flags_given = set()  # names of the constants that the command line set


class UserError(Exception):
    """A mistake that the user can correct; the text says what is wrong and what to do."""


def constants(script):
    """Find the constants of a script: UPPERCASE names with plain values before its first function.

    Args:
        script: globals of the script, from which the current values are taken.

    Returns:
        {name: (value, type, trailing comment)} in the order of the file. Lists become tuples, and their type is that of
        their items. The comment of None starts with its type: `THRESHOLD = None  # float: of the probability`.
    """
    with tokenize.open(script["__file__"]) as file:
        source = file.read()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            break
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            name = node.targets[0].id
            value = tuple(script[name]) if isinstance(script[name], list) else script[name]
            comment, kind = comments.get(node.end_lineno, ""), type(value)
            word, _, rest = comment.partition(": ")
            if word in OPTIONAL:  # even if the value is no longer None
                kind, comment = OPTIONAL[word], rest
            elif isinstance(value, tuple):
                kind = type(value[0]) if value else str
            if kind in (bool, int, float, str):
                found[name] = value, kind, comment
    return found


def parse_flags(script, arguments):
    """Read the constants of a script (its globals) that the command line overrides; return {NAME: value}.

    EPOCHS = 60 becomes --epochs 60. A flag has the type of its constant: a float accepts a whole number but not the
    other way round, True/False become --flag/--no-flag, and a tuple takes any number of values. --help shows the values
    in the script's dictionary CHOICES, {NAME: values}.

    Raises:
        UserError: the command line is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=Path(script["__file__"]).name,
        description=script["__doc__"],
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )

    def fail(message):
        raise UserError(f"{message} (see --help)")

    parser.error = fail
    for name, (value, kind, comment) in constants(script).items():
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        if name in script.get("CHOICES", {}):
            comment += f"; choices: {', '.join(script['CHOICES'][name])}"
        default = "none" if shown in ("", None) else shown
        options = {"dest": name, "help": f"{comment} (default: {default})".replace("%", "%%")}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif isinstance(value, tuple):
            options |= {"nargs": "*", "type": kind, "metavar": "VALUE"}
        else:
            options |= {"type": kind, "metavar": {int: "N", float: "X", str: "TEXT"}[kind]}
        parser.add_argument("--" + name.lower().replace("_", "-"), **options)
    flags = vars(parser.parse_args(_with_exponents(arguments)))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}


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
    """Run a script: read its flags, call `main()`, and report a UserError or OSError in one line with exit status 2."""
    script = main.__globals__
    name = Path(script["__file__"]).name
    sys.stdout.reconfigure(line_buffering=True)  # keeps lines in order when both streams go to one log
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _interrupt)
    try:
        flags = parse_flags(script, sys.argv[1:])
        flags_given.update(flags)
        script.update(flags)
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
    return re.sub(rf"(?<![\w/.$-])({alone})(?![\w/.-])", lambda m: "--" + m[1].lower().replace("_", "-"), text)


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


def check_ranges(script, **ranges):
    """Raise UserError for a constant outside its range; ranges: NAME=(lowest, highest or None). None is accepted."""
    for name, (low, high) in ranges.items():
        value = script[name]
        if value is not None and not low <= value <= (value if high is None else high):  # NaN fails too
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{name} is {value}: it must be {allowed}")


def check_choices(script, **choices):
    """Raise UserError for a constant that is not one of its choices; all items of a tuple must be."""
    for name, allowed in choices.items():
        values = script[name] if isinstance(script[name], tuple | list) else [script[name]]
        wrong = [value for value in values if value not in allowed]
        if wrong:
            raise UserError(f"{name}: {', '.join(map(repr, wrong))} is none of {', '.join(allowed)}")


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
