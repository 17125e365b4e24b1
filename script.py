"""What every script has: constants that are flags, errors in one line, a progress bar.

Light to import, so that `--help` and a user's mistake are answered at once.
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

OPTIONAL = {"int": int, "float": float, "str": str}  # words that name the type of a constant which may be None
interrupts, deferred = [], []  # Ctrl-C so far; blocks in which it waits
flags_given = set()  # names of the constants that stood on the command line


class UserError(Exception):
    """A mistake that the user can mend; the text says what is wrong and what to do."""


def constants(script):
    """The constants of a script: UPPERCASE names before its first function that hold plain values.

    Args:
        script: globals of the script; values are taken from there, so what is computed or edited counts as it is.

    Returns:
        {name: (value, type, trailing comment)} in the order of the file. Lists come as tuples, and their type is that
        of their items. The type of None stands before its comment: `THRESHOLD = None  # float: of the probability`.
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
            if word in OPTIONAL:  # also where the file was edited, or a flag given
                kind, comment = OPTIONAL[word], rest
            elif isinstance(value, tuple):
                kind = type(value[0]) if value else str
            if kind in (bool, int, float, str):
                found[name] = value, kind, comment
    return found


def parse_flags(script, arguments):
    """Read the constants of a script (its globals) that the command line overrides; returns {NAME: value}.

    EPOCHS = 60 becomes --epochs 60. A flag has the type of its constant: a whole number is taken for a float but not
    the other way, True/False become --flag/--no-flag, and a tuple takes any number of values. A dictionary CHOICES of
    the script, {NAME: values}, is shown by --help.
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
    """Join `--nodata -3.4e38` to `--nodata=-3.4e38`: argparse takes -3.4e38 for a flag of that name."""
    joined = []
    for argument in arguments:
        if re.fullmatch(r"-(\d+\.?\d*|\.\d+)e[+-]?\d+|-inf|-nan", argument, re.IGNORECASE) and joined:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def start(main):
    """Run a script: take its flags, call `main()`, and turn a user's mistake into a line and exit status 2."""
    script = main.__globals__
    name = Path(script["__file__"]).name
    sys.stdout.reconfigure(line_buffering=True)  # lines come in order when both streams go to one log
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in a background job
        signal.signal(signal.SIGINT, _interrupt)
    try:
        flags = parse_flags(script, sys.argv[1:])
        flags_given.update(flags)
        script.update(flags)
        main()
    except UserError as error:
        sys.exit(_complain(f"{name}: error: {error}"))
    except OSError as error:  # a full disk, a folder that may not be written: the system's own words serve
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{name}: error: {where}{error.strerror or error}"))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def _interrupt(number, frame):
    interrupts.append(number)
    if not (deferred and len(interrupts) == 1):
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_deferred():
    """Have the first Ctrl-C wait until `heed_interrupt` is called."""
    deferred.append(True)
    try:
        yield
    finally:
        deferred.pop()


def heed_interrupt():
    """Raise KeyboardInterrupt if Ctrl-C was pressed: what is raised within a garbage collector's callback is lost."""
    if interrupts:
        raise KeyboardInterrupt


def _complain(line):
    print(line, file=sys.stderr)
    return 2


def check_ranges(script, **ranges):
    """Raise UserError for a constant outside its range; ranges: NAME=(lowest, highest or None). None is no value."""
    for name, (low, high) in ranges.items():
        value = script[name]
        if value is not None and not low <= value <= (value if high is None else high):  # NaN fails, too
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{name} is {value}: it must be {allowed}")


def check_choices(script, **choices):
    """Raise UserError for a constant that is none of its choices; a tuple must hold nothing else."""
    for name, allowed in choices.items():
        values = script[name] if isinstance(script[name], tuple | list) else [script[name]]
        wrong = [value for value in values if value not in allowed]
        if wrong:
            raise UserError(f"{name}: {', '.join(map(repr, wrong))} is none of {', '.join(allowed)}")


def progress(iterable, label, total=None):
    """Iterate with a bar on stderr; where stderr is no terminal, with a line at the end only.

    tqdm says nothing at all there, so that a log would lack how many and how long.
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
