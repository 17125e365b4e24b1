"""Checks of the pages: links resolve, flags in commands exist, and figures stand in the files that the pages link.

In a table, figures are all numbers except those in the first column, which names the row. The row links a .json or .csv
file under results/, or the paragraph directly above the table does; other tables are not checked. In a sentence that
links such a file, figures are the numbers with a decimal point, a per cent sign, or a unit of time or memory. Whole
numbers are counts there (36 patches), and lengths and areas describe ground (0.8 m): they are not checked. A sentence
ends at the next full stop.

A number is in a file if one of the file's values rounds to it, to the digits shown; "12 %" is 0.12 there. Every cell of
a CSV file counts. If it has a column `draw`, means over draws count as well. Digits in words, inline code and names of
files (B10, metrics_at0.4) are ignored.
"""

import ast
import csv
import functools
import json
import re
import shlex
from collections import defaultdict
from contextlib import suppress
from statistics import mean

import pytest

import records
import script
from tests.running import ROOT

PATTERNS = ("*.md", "docs/*.md", "data/README.md", "results/README.md", "results/*/*.md", "benchmarks/*.md")
PAGES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
NUMBER = re.compile(r"(?<![\w.])([−-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?![\w.]*\w)( ?%)?")
ON_GROUND = re.compile(r" (?:k?m²?|ha)(?!\w)")  # behind a number: a length or an area
TIME_OR_MEMORY = re.compile(r" (?:ms|s|min|h|MB|GB)(?!\w)")
PLACEHOLDER = re.compile(r"\b(?:DEMO|TEST)_[A-Z]+\b|PROCESSOR TABLE|TODO|@@@")
INLINE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")  # it may not span paragraphs


def text_and_code(page):
    """Return the text of a page outside of code blocks, and the text inside them."""
    lines, fenced = {False: [], True: []}, False
    indented, blank = False, True
    for line in page.read_text().splitlines():
        fence = line.startswith("```")
        fenced ^= fence
        indented = line.startswith("    ") and (indented or blank)
        blank = not line
        lines[fenced or indented].append("" if fence else line)
    return "\n".join(lines[False]), "\n".join(lines[True])


# ---------------------------------------------------------------------- links


def broken_links(page):
    """Return the relative links of a page that do not resolve."""
    text, _ = text_and_code(page)
    return [target for _, target in links(INLINE.sub("", text)) if not resolves(target, page)]


def links(text):
    """Yield (text, target) of each link and image, including those in the text of a link."""
    for label, target in LINK.findall(text):
        yield from links(label)
        yield label, target


def resolves(target, page):
    if re.match(r"[a-z]+:", target):  # another site
        return True
    file, _, anchor = target.partition("#")
    path = page.parent / file if file else page
    return path.exists() and (not anchor or anchor in anchors(path))


def anchors(page):
    """Return the anchors that GitHub makes from the headings of a page."""
    names = []
    for heading in re.findall(r"^#+ +(.+?) *$", text_and_code(page)[0], re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", LINK.sub(r"\1", heading).lower()).replace(" ", "-")
        names.append(f"{anchor}-{names.count(anchor)}" if anchor in names else anchor)
    return names


# ---------------------------------------------------------------------- commands


def unknown_flags(page, root=ROOT):
    """Return the scripts and flags of a page that do not exist: ("train.py", "--flag") or (path, "")."""
    text, blocks = text_and_code(page)
    inline = [code.replace("\n", " ") for code in INLINE.findall(text)]
    every = {
        flag
        for script in (
            *root.glob("*.py"),
            *root.glob("benchmarks/*.py"),
            *root.glob("experiments/*.py"),
            *root.glob("tests/checks/*.py"),
        )
        for flag in flags_of(script)
    }
    unknown = [("", code.split()[0]) for code in inline if code.startswith("--") and code.split()[0] not in every]
    for code in (blocks, *inline):
        for called, name, flags in commands(code):
            path = next((path for path in (root / name, page.parent / name) if path.exists()), None)
            if path:
                unknown += [(name, flag) for flag in flags if flag not in flags_of(path)]
            elif called or flags:
                unknown.append((name, ""))
    return unknown


def commands(code):
    """Yield (started by python, script, flags) of each command that names a script; quoted text is not a flag."""
    lines = re.sub(r"\\\n", " ", code).splitlines()
    for part in (part for line in lines for part in re.split(r"&&|[|;]", re.sub(r"(^|\s)#.*", "", line))):
        try:
            words = shlex.split(part)
        except ValueError:  # text with a single quotation mark
            words = part.split()
        for i, word in enumerate(words):
            if word.endswith(".py"):
                flags = [word.partition("=")[0] for word in words[i + 1 :] if re.fullmatch(r"--[^\s]+", word)]
                yield bool(i and re.search(r"python[\d.]*$", words[i - 1])), word, flags
                break


@functools.cache
def flags_of(path):
    """Return the flags that --help of a script shows, without running it; none for a module."""
    source = path.read_text()
    if "script.start(main)" not in source:
        return set()
    held = defaultdict(lambda: None, __file__=str(path))
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):  # no flag has a computed value
                held[node.targets[0].id] = ast.literal_eval(node.value)
    flags = {"--help", "--version"}
    for name, (_, kind, *_) in script.constants(held).items():
        flag = name.lower().replace("_", "-")
        flags |= {f"--{flag}", f"--no-{flag}"} if kind is bool else {f"--{flag}"}
    return flags


# ---------------------------------------------------------------------- figures


def wrong_figures(page, root=ROOT):
    """Return (figure, names of files) for each figure of a page that is not in the linked files."""
    wrong = []
    for figures, sources in (*figures_of_rows(page, root), *figures_of_sentences(page, root)):
        values = [value for source in sources for value in values_of(source)]
        for figure in figures:
            if not any(stands(*figure, value) for value in values):
                wrong.append(("".join(figure), " ".join(source.name for source in sources)))
    return wrong


def figures_of_rows(page, root):
    """Yield (figures, files) of each row of a table with linked files under results/; see `stands` for a figure."""
    for row, sources in checked_rows(page, root):
        cells = " | ".join(re.split(r"(?<!\\)\|", row.strip().strip("|"))[1:])
        yield NUMBER.findall(without_links(cells)), sources


def figures_of_sentences(page, root):
    """Yield (figures, files) of each sentence that links files under results/."""
    for sentence in sentences(page):
        if sources := files_named(sentence, page, root):
            text = without_links(sentence)
            yield [number.groups("") for number in NUMBER.finditer(text) if is_figure(number, text)], sources


def is_figure(number, text):
    """Return whether a number in a sentence (a match of NUMBER) is a figure, and no count or size on the ground."""
    measured = "." in number[2] or number[3] or TIME_OR_MEMORY.match(text, number.end())
    return measured and not ON_GROUND.match(text, number.end())


def without_links(text):
    """Return a text without its links and inline code."""
    return INLINE.sub("", LINK.sub(" ", text))


def sentences(page):
    """Yield the sentences of a page, of its paragraphs and list items, outside of tables, headings and code."""
    text = re.sub(r"^[|#].*", "", text_and_code(page)[0], flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", text):
        yield from re.split(r"(?<=\.)\s+", paragraph)


def checked_rows(page, root):
    """Yield (row, files) of each row of a table with linked files under results/."""
    above, header, before = [], True, ""
    for line in text_and_code(page)[0].splitlines():
        if not line.startswith("|"):
            if line.strip():
                above = above + [line] if before.strip() and not before.startswith("|") else [line]
            header = True
        elif re.fullmatch(r"[|\s:-]+", line):
            header = False
        elif not header:
            sources = files_named(line, page, root) or files_named("\n".join(above), page, root)
            if sources:
                yield line, sources
        before = line


def files_named(text, page, root):
    """Return the .json and .csv files under results/ that a text links."""
    paths = [(page.parent / target).resolve() for _, target in links(text) if target.endswith((".json", ".csv"))]
    return [path for path in paths if path.is_relative_to(root / "results") and path.exists()]


def values_of(path):
    """Return all numbers in a JSON or CSV file, with means over draws."""
    if path.suffix == ".json":
        return list(numbers(json.loads(path.read_text())))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    values, draws = [number for row in rows for number in numbers(list(row.values()))], defaultdict(list)
    for row in rows:
        if "draw" in row:
            at = list(row).index("draw")
            draws[tuple(row.values())[:at]].append([float(value or "nan") for value in tuple(row.values())[at:]])
    return values + [mean(column) for group in draws.values() for column in zip(*group, strict=True)]


def numbers(record):
    """Yield all numbers in a record, including texts that are numbers."""
    if isinstance(record, dict | list):
        for part in record.values() if isinstance(record, dict) else record:
            yield from numbers(part)
    elif isinstance(record, str):
        with suppress(ValueError):
            yield float(record)
    elif isinstance(record, int | float) and not isinstance(record, bool):
        yield record


def stands(sign, digits, percent, value):
    """Return whether a value rounds to a number as shown; a half may round either way."""
    shown, last = float(digits.replace(",", "")), 10.0 ** -len(digits.partition(".")[2])
    shown, last = (shown / 100, last / 100) if percent else (shown, last)
    return abs((-shown if sign else shown) - value) <= last / 2 * (1 + 1e-9) + 1e-12


# ---------------------------------------------------------------------- tests


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_resolves(page):
    assert not broken_links(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_flag_is_one_of_its_script(page):
    assert not unknown_flags(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_figures_stand_in_the_files_that_pages_link(page):
    assert not wrong_figures(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_left_to_fill_in(page):
    assert not PLACEHOLDER.findall(page.read_text())


def test_the_readme_fits_one_screen_before_its_first_table():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert next(i for i, line in enumerate(lines) if line.startswith("|")) <= 50


def test_flags_are_those_of_help():
    import train

    flags = flags_of(ROOT / "train.py")
    assert {"--epochs", "--resume", "--no-resume", "--help", "--version"} <= flags
    named = {"--" + name.lower().replace("_", "-") for name in script.constants(vars(train))}
    assert {flag for flag in flags if not flag.startswith("--no-")} == named | {"--help", "--version"}
    assert "--networks" in flags_of(ROOT / "benchmarks" / "training_speed.py")
    assert not flags_of(ROOT / "losses.py")


PAGE = """# A page, with `code`

[there](#a-page-with-code) ![gone](gone.png) [no heading](#below) [site](https://example.org/x) `[not](a-link)`
[a figure ![within](lost.png)](page.md)

    python go.py --epochs 3 \\
        --epoch 4 && python gone.py    # --comment
    echo --other

`go.py --force --no-force`, `--lost` and `python go.py --text "--inner 3"`

| name 7 | Dice | file |
|---|---|---|
| first 8 | 0.725 (−0.70), 73 %, 1,234 of B10 | [a](results/a.json) |
| second | 0.724, 74 % | [a](results/a.json) |
| third | 9 | none |

Means of two draws ([s](results/s.csv)), over
two lines:

| name | Dice |
|---|---|
| x | 0.25, 0.5 and 0.77 |

Dice is 0.725 and not 0.8 ([a](results/a.json)), on 36 patches of 0.8 m, 73 % of them at `x = 0.9`. It was 0.6 before.

- It takes 1234 s and
  1.5 ms in 2026 ([a](results/a.json)).
- It takes 5 s.
"""
SCRIPT = """import script

EPOCHS = 60  # passes
FORCE = False  # replace it
TEXT = ""  # of flags
TABLE = {}


def main():
    LATER = 1


script.start(main)
"""


@pytest.fixture
def page(tmp_path):
    """Make a project with a page that has errors of each kind."""
    (tmp_path / "go.py").write_text(SCRIPT)
    records.write_json(
        tmp_path / "results" / "a.json", {"x": {"dice": 0.7254, "of": [0.7349, 1234, -0.7]}, "tta": True}
    )
    rows = [("a", 0, 0.1), ("a", 1, 0.4), ("b", 0, 0.5)]
    records.write_csv(tmp_path / "results" / "s.csv", ("method", "draw", "dice"), rows)
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_a_broken_link_is_found(page):
    assert sorted(broken_links(page)) == ["#below", "gone.png", "lost.png"]


def test_an_unknown_flag_is_found(page):
    assert unknown_flags(page, page.parent) == [("", "--lost"), ("go.py", "--epoch"), ("gone.py", "")]


def test_a_wrong_figure_is_found(page):
    in_tables = [("0.724", "a.json"), ("74 %", "a.json"), ("0.77", "s.csv")]
    in_sentences = [("0.8", "a.json"), ("1.5", "a.json")]
    assert wrong_figures(page, page.parent) == in_tables + in_sentences


@pytest.mark.parametrize(("shown", "value"), [("0.725", 0.7245), ("0.724", 0.7245), ("3,013,713", 3013713), ("2.0", 2)])
def test_a_half_rounds_either_way(shown, value):
    assert stands("", shown, "", value)
    assert not stands("", shown, "", value * 1.03) and not stands("−", shown, "", value)
