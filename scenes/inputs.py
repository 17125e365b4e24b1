"""The scenes of a call: one, several, or those of a table."""

from pathlib import Path

from records import expanded, portable, read_table
from scenes.opening import check_readable
from script import UserError


def list_inputs(one, several, before, flags=("--input", "--many")):
    """Return [(paths of a scene, paths of the scene before), ...].

    Args:
        one: paths of one scene. before: paths of the scene before it. several: paths of several scenes, or of one CSV
            table with the columns input and before. Paths in a table are relative to its folder; the files of a scene
            stand in one cell, with spaces between.
        flags: that name `one` and `several` on the command line.

    Raises:
        UserError: the user names both, or the table cannot be used.
    """
    one, several, before = map(expanded, (one, several, before))
    if not several:
        return [(one, before)]
    if one or before:
        raise UserError(f"give either {flags[0]} (and --before) or {flags[1]}")
    if len(several) > 1 or not str(several[0]).lower().endswith(".csv"):
        return [((path,), ()) for path in several]
    table = Path(several[0])
    check_readable(table)
    rows = read_table(table)
    numbers = [number for number, row in enumerate(rows, 2) if any((cell or "").strip() for cell in row.values())]
    rows = [rows[number - 2] for number in numbers]  # spreadsheets write blank rows
    if not rows or "input" not in rows[0] or set(rows[0]) - {"input", "before"}:
        columns = ", ".join(rows[0]) if rows else "none"
        raise UserError(f"{table} needs rows, a column input and at most a column before (it has {columns})")

    def paths(cell):
        cell = (cell or "").strip()
        if not cell or "://" in cell:
            return (cell,) if cell else ()
        if not (table.parent / cell).exists():  # written on another system
            cell = portable(cell)
        one_file = table.parent / cell  # whose name may hold spaces
        return (str(one_file),) if one_file.exists() else tuple(str(table.parent / part) for part in cell.split())

    pairs = [(paths(row["input"]), paths(row.get("before"))) for row in rows]
    if empty := [number for number, (after, _) in zip(numbers, pairs, strict=True) if not after]:
        raise UserError(f"{table}: line {empty[0]} names no input")
    return pairs
