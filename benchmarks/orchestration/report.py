"""Tables from the raw figures: medians with the least and the most of the rounds, ratios within rounds, targets.

python benchmarks/orchestration/report.py      prints results.json again, and puts the tables into the README
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->\n"
NONE = "-"

NAMES = {
    "podium": "Podium",
    "podium-reading": "Podium, model reads its prompt",
    "langgraph": "LangGraph",
    "langgraph-sync": "LangGraph, durability sync",
    "langgraph-invoke": "LangGraph, invoke without asyncio",
    "autogen": "AutoGen core",
    "asyncio": "(loop without a framework)",
}
FLAT = 1.25
"""A cost counts as flat while it grows by less: medians of two such measurements differ by a fifth for no reason."""


def figures(results: Results, side: str, name: str, **which: Any) -> dict[int, float]:
    """One figure of a measurement by round; empty if it was not made. Given a delay it is one batch."""
    want: dict[str, Any] = {"side": side, "journal": False, "concurrent": 1, "turns": 10, "delay": 0.0, "kind": "speed"}
    want |= {"served": False, **which}
    for each in results["measurements"]:
        if all(each[key] == value for key, value in want.items()):
            return {one["round"]: one[name] for one in each["rounds"] if name in one}
    return {}


def cell(values: dict[int, float], shown: str = ",.0f", *, spread: bool = False) -> str:
    """The median. spread: with the least and the most in brackets, where there are several."""
    found = list(values.values())
    if not found:
        return NONE
    middle = f"{statistics.median(found):{shown}}"
    return f"{middle} [{min(found):{shown}}-{max(found):{shown}}]" if spread and len(found) > 1 else middle


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns line up. Rows without a figure are left out."""
    rows = [row for row in rows if any(each not in {NONE, ""} for each in row[1:])]
    first, *others = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        right = (each.rjust(width) for each, width in zip(cells[1:], others, strict=True))
        return f"| {' | '.join([cells[0].ljust(first), *right])} |"

    rule = line(["-" * first, *("-" * (width - 1) + ":" for width in others)])
    return "\n".join([f"**{title}**", "", line(head), rule, *map(line, rows)])


def tables(results: Results) -> list[str]:
    """What was measured."""
    grid = [(journal, runs) for journal in (False, True) for runs in (1, 300)]
    head = ["", *(_named(journal, runs) for journal, runs in grid)]
    out: list[str] = []
    for title, name in (
        ("Steps per second, instant model: median [least-most]", "steps_per_second"),
        ("CPU microseconds per step, instant model: median [least-most]", "cpu"),
    ):
        rows: list[list[str]] = []
        for side, shown in NAMES.items():
            found = [figures(results, side, name, journal=journal, concurrent=runs) for journal, runs in grid]
            rows.append([shown, *(cell(each, spread=True) for each in found)])
        out.append(table(title, head, rows))
    return [*out, crowd(results), growth(results), waiting(results)]


def crowd(results: Results) -> str:
    """Many runs with a slow model."""
    head = [
        "",
        "seconds, 1,000 runs: median [least-most]",
        "CPU us/step",
        "served: seconds",
        "CPU us/step",
        "seconds, 300 runs",
        "loop lag at 300: p99 ms",
        "longest ms",
    ]
    rows: list[list[str]] = []
    for side, shown in NAMES.items():
        for journal in (False, True):
            many = {"journal": journal, "concurrent": 1000, "delay": 0.05}
            some, served = many | {"concurrent": 300}, many | {"served": True}
            rows.append(
                [
                    f"{shown}, journal" if journal else shown,
                    cell(figures(results, side, "wall", **many), ".2f", spread=True),
                    cell(figures(results, side, "cpu", **many)),
                    cell(figures(results, side, "wall", **served), ".2f", spread=True),
                    cell(figures(results, side, "cpu", **served)),
                    cell(figures(results, side, "wall", **some), ".2f"),
                    cell(figures(results, side, "lag_p99", **some)),
                    cell(figures(results, side, "lag_longest", **some)),
                ]
            )
    return table("Ten turns with a model of 50 ms (ideal: 0.50 s)", head, rows)


def growth(results: Results) -> str:
    """Cost over the length of a run and over runs at once."""
    turns, runs = (10, 50, 200), (1, 10, 100, 1000)
    head = [
        "",
        *(f"{each} turns" for each in turns),
        "200 / 10",
        *(f"{each:,} at once" for each in runs[1:]),
        "1,000 / 1",
    ]
    rows: list[list[str]] = []
    for side in ("podium", "podium-reading", "langgraph", "autogen"):
        for journal in (False, True):
            long = alike([figures(results, side, "cpu", journal=journal, turns=each) for each in turns])
            wide = alike([figures(results, side, "cpu", journal=journal, concurrent=each) for each in runs])
            name = NAMES[side] + (", journal" if journal else "")
            grown = cell(within(long[-1], long[0]), ".2f"), cell(within(wide[-1], wide[0]), ".2f")
            if grown != (NONE, NONE):
                rows.append([name, *map(cell, long), grown[0], *map(cell, wide[1:]), grown[1]])
    return table(
        "CPU microseconds per step, instant model: by turns of one run, by runs of ten turns at once", head, rows
    )


def waiting(results: Results) -> str:
    """Memory of runs that wait for their model."""
    head = ["", "resident KiB", "live KiB", "live KiB left when it has ended"]
    rows: list[list[str]] = []
    for side, shown in NAMES.items():
        for journal in (False, True):
            cells = [
                {
                    number: value / 1024
                    for number, value in figures(results, side, name, journal=journal, kind=kind, concurrent=n).items()
                }
                for name, kind, n in (
                    ("held", "memory", _runs(results)),
                    ("held", "traced", 300),
                    ("left", "traced", 300),
                )
            ]
            rows.append([f"{shown}, journal" if journal else shown, *(cell(each, ".1f") for each in cells)])
    return table(
        f"Memory per run that waits for its model at turn 5 of 10 ({_runs(results):,} runs; live: 300 runs)", head, rows
    )


def _runs(results: Results) -> int:
    return max(each["concurrent"] for each in results["measurements"] if each["kind"] == "memory")


def within(above: dict[int, float], below: dict[int, float]) -> dict[int, float]:
    """Ratios, each of two figures of one round."""
    return {number: above[number] / below[number] for number in above if number in below}


def alike(columns: Sequence[dict[int, float]]) -> list[dict[int, float]]:
    """Figures of a comparison, of the rounds in which all of those that were made at all were made."""
    made = [column for column in columns if column]
    return [{number: column[number] for number in column if all(number in each for each in made)} for column in columns]


def ratios(results: Results) -> list[str]:
    """What is wanted, and what is."""
    rows: list[list[str]] = []
    for journal, least in ((False, 10.0), (True, 3.0)):
        for runs in (1, 300):
            for side in ("langgraph", "langgraph-sync", "langgraph-invoke", "autogen"):
                which: dict[str, Any] = {"journal": journal, "concurrent": runs}
                speed = within(*(figures(results, each, "steps_per_second", **which) for each in ("podium", side)))
                cpu = within(*(figures(results, each, "cpu", **which) for each in (side, "podium")))
                what = f"steps/s of Podium / {NAMES[side]}, {_named(journal, runs)}"
                met = _met(speed, lambda value, least=least: value >= least)
                goal = (f"at least {least:g}", met) if side == "langgraph" else ("", "")
                rows.append([what, goal[0], cell(speed, ".1f", spread=True), cell(cpu, ".1f", spread=True), goal[1]])
    for journal in (False, True):
        for side in ("langgraph", "autogen"):
            many = {"journal": journal, "concurrent": 1000, "delay": 0.05}
            wall, cpu = (
                within(*(figures(results, each, name, **many) for each in (side, "podium"))) for name in ("wall", "cpu")
            )
            what = f"seconds of {NAMES[side]} / Podium, 1,000 runs, model of 50 ms, {_named(journal)}"
            rows.append([what, "", cell(wall, ".1f", spread=True), cell(cpu, ".1f", spread=True), ""])
    for journal, most, served in ((False, 0.8, False), (False, 0.8, True), (True, 1.3, False), (True, 1.3, True)):
        many = {"journal": journal, "concurrent": 1000, "delay": 0.05, "served": served}
        seconds = figures(results, "podium", "wall", **many)
        met = _met(seconds, lambda value, most=most: value < most)
        rows.append(
            [
                f"seconds, 1,000 runs, model of 50 ms, {_named(journal)}{', served' if served else ''}",
                f"under {most:g}",
                cell(seconds, ".2f", spread=True),
                NONE,
                met,
            ]
        )
    for journal in (False, True):
        one = figures(results, "podium", "cpu", journal=journal)
        for what, which in (("200 turns / 10", {"turns": 200}), ("1,000 runs at once / 1", {"concurrent": 1000})):
            grown = within(figures(results, "podium", "cpu", journal=journal, **which), one)
            name = f"CPU per step, {what}, {_named(journal)}"
            met = _met(grown, lambda value: value <= FLAT)
            rows.append([name, f"at most {FLAT:g}", NONE, cell(grown, ".2f", spread=True), met])
    rows = [row for row in rows if row[2:4] != [NONE, NONE]]
    return [
        table(
            "Targets, and other ratios, each within rounds: median [least-most]",
            ["", "target", "by the clock", "by CPU", "met"],
            rows,
        )
    ]


def _named(journal: bool, runs: int = 0) -> str:
    name = "journal" if journal else "no journal"
    return name + {0: "", 1: ", one at a time"}.get(runs, f", {runs} at once")


def _met(found: dict[int, float], enough: Callable[[float], bool]) -> str:
    return NONE if not found else "yes" if enough(statistics.median(found.values())) else "NO"


def machine_line(results: Results) -> str:
    """What it was measured with and on."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    plain, disk = results["plain_milliseconds"], statistics.median(results["forced_write_microseconds"])
    return (
        f"`{results['command']}`: Python {results['python']}, {results['machine']}; {versions}. "
        f"30,000 additions in a plain Python loop took {min(plain):.2f} to {max(plain):.2f} ms at best in each round, "
        f"one forced write of a page {disk:.0f} us."
    )


def write_readme(results: Results, readme: Path) -> None:
    """Put the tables between the README's marks."""
    text = readme.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = "\n\n".join([machine_line(results), *ratios(results), *tables(results)])
    readme.write_text(f"{before}{BEGIN}{parts}\n{END}{after}")


def main() -> None:
    """Print the figures that are kept, and copy them into the README."""
    folder = Path(__file__).parent
    results = json.loads((folder / "results.json").read_text())
    print(machine_line(results), *tables(results), *ratios(results), sep="\n\n")
    write_readme(results, folder / "README.md")


if __name__ == "__main__":
    main()
