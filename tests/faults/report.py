"""The fault matrix as a page: from a whole run's JUnit XML, in which every cell left what came of it.

Written by `python -m tests.faults.report JUNIT.xml docs/fault-matrix.md`, which `make fault-matrix` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.matrix import COLUMNS, ROWS, Cell

BEGINNING = """# What breaks, and what is left

What happens to a run when a model's endpoint, a tool, the journal or the process itself fails in the middle of it:
{cells} cells, {faults} faults under {coordinators} coordinators. In no cell was a completed call lost, and in none was
one made again that had been written. The page is written by the tests themselves: `make fault-matrix`.

**Method.** Each cell is a test in [tests/faults](../tests/faults). A team of three (ann, bob and cyd) works one task
twice, first unharmed, which is the reference, and then with the fault, which counts itself how often it strikes; a cell
whose fault did not strike fails, and so does one that does not end as stands here. The last coordinator asks a model of
its own before each step who is next (`llm_selector`): there it is the coordinator's calls that are hit.

- *Endpoints, tools, journals.* The models are a real HTTP endpoint, asked by the official client through a TCP proxy.
  It is bob's model that refuses or whose connections are cut, garbled or silenced, in the middle of an answer or before
  it; where the coordinator asks a model, it is that model, too, or, where one *always* fails, that one from its second
  call on. It is bob who has the tool, a process that dies, does not end or writes 20 MiB. The journal is struck at the
  last request of bob, or of the coordinator, when all that was completed by then is written: its disk, a file system of
  1 MiB, is filled to the last byte, another process holds its lock, or its server, a PostgreSQL, is shut down as by a
  crash. The endpoint's own list of what it answered is compared with the journal's.
- *Processes.* The models are scripted, in the process that is killed, and write each call to a file when it begins and
  when it is completed. *After every step* is once for each decision, when it is durable and nothing of it is done, and
  once when the last reply is there and the run's end is not written. *Inside of every step* is when all its calls are
  completed but one, whoever's that is; where the coordinator asks a model, also once while it does, and once when that
  has answered and the decision is made, but not written. Another process goes on with each. The file is compared with
  the journal's list as it was after the kill, and as it is in the end.

**How to read it.** Each cell says how the run ended, and then:

- *struck*: how often the fault did
- *lost*: calls that were completed and are not in the journal: when the run broke off, but for a reply on its way
  there, or in the end
- *repeated*: calls that were completed, written, and made again
- *unwritten*: replies that were on their way to the journal when it failed or the process was killed, so that their
  calls were made again (left out where there were none). The reply to a step's only call is on its way until the
  decision that follows it, or the run's end, is written with it; one beside others is written as it comes, and so is
  any on which a coordinator asks its model. What that model says is on its way until its decision is written.

"As without it" means: the same answer, and the same nodes with the same words in the same order. An endpoint that
*always* fails is given up after three attempts; the run then fails with the error named, its earlier replies kept, or
is answered by the others, where the step had others. *Breaker open*: it failed five times in a row, so the last
attempts were not made.
"""


def cells_of(junit: Path) -> list[Cell]:
    """What the tests left."""
    found: list[Cell] = []
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        kept = {each.get("name", ""): each.get("value", "") for each in case.iter("property")}
        if "row" in kept:
            numbers = {name: int(kept[name]) for name in ("fired", "lost", "repeated", "again")}
            found.append(Cell(kept["row"], kept["column"], kept["ended"], **numbers))
    return found


def page(cells: list[Cell]) -> str:
    """The report. Raises KeyError where a cell is missing."""
    by_name = {(cell.row, cell.column): cell for cell in cells}
    beginning = BEGINNING.format(cells=len(ROWS) * len(COLUMNS), faults=len(ROWS), coordinators=len(COLUMNS))
    return beginning + "".join(_table(group, by_name) for group in dict.fromkeys(row.split(":")[0] for row in ROWS))


def _table(group: str, cells: dict[tuple[str, str], Cell]) -> str:
    lines = [f"| {group} | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in ROWS:
        own, _, fault = row.partition(": ")
        if own == group:
            lines.append(f"| {fault} | " + " | ".join(_words(cells[row, column]) for column in COLUMNS) + " |")
    return "\n" + "\n".join(lines) + "\n"


def _words(cell: Cell) -> str:
    unwritten = f", unwritten {cell.again}" if cell.again else ""
    return f"{cell.ended}<br>struck {cell.fired}, lost {cell.lost}, repeated {cell.repeated}{unwritten}"


def rows_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a report, and how their cells ended; those in which something was lost or repeated say all."""
    group = ""
    for line in text.splitlines():
        fields = [field.strip() for field in line.strip("|").split("|")]
        if line.startswith("| ") and fields[1:] == list(COLUMNS):
            group = fields[0]
        elif line.startswith("| "):
            yield f"{group}: {fields[0]}", [_ended(field) for field in fields[1:]]


def _ended(words: str) -> str:
    ended, _, rest = words.partition("<br>")
    return ended if "lost 0, repeated 0" in rest else words


def main(junit: str, report: str) -> None:
    """Write the report; exits with a word where a cell is missing, and leaves the old report."""
    try:
        text = page(cells_of(Path(junit)))
    except KeyError as error:
        sys.exit(f"no result of the cell {error}: it failed, or was skipped; the report stays as it was")
    Path(report).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
