"""The tables of docs/evidence/year.md: the goals, then incident by incident, misses first, then the weeks."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from benchmarks.year.journal import WeekRecord
from benchmarks.year.outcome import OVER, Outcome, Row

ARMS = ("champion", "without gates", "never again")
"""What people might talk to, by the names in the journal."""
GOALS: dict[str, tuple[str, Callable[[Outcome], str]]] = {
    "weeks lived, of those meant": ("all", lambda year: f"{len(year.records)} of {year.weeks + 1}"),
    "harmful policies that became champion": ("0", lambda year: _weeks(year.harmful())),
    "weeks in which a better policy was not promoted": (
        "≤ 5 %",
        lambda year: f"{_weeks(year.not_promoted())} ({len(year.not_promoted()) / max(len(year.records), 1):.0%})",
    ),
    "mean gold of the champion": ("", lambda year: f"{year.mean_worth('champion'):.2f}"),
    "the same of retraining without gates, of never retraining": (
        "below",
        lambda year: f"{year.mean_worth('without gates'):.2f}, {year.mean_worth('never again'):.2f}",
    ),
    "incidents that may cost gold and were never noticed; of these with a policy worse beyond chance": (
        "0",
        lambda year: f"{len(year.never_noticed())}; {sum(_cost(row) for row in year.never_noticed())}",
    ),
    "honest annotators accused": ("0", lambda year: str(len(year.accused()))),
    "weekly files of labels named": ("0", lambda year: str(len(year.batches_named()))),
    "climbs that crashed and were climbed again": (
        "",
        lambda year: str(sum(each.ending not in OVER for record in year.records for each in record.tries)),
    ),
    "runs unfinished": ("0", lambda year: _counted(year, "runs unfinished")),
    "steps logged twice": ("0", lambda year: _counted(year, "steps logged twice")),
    "versions made twice": ("0", lambda year: _counted(year, "versions made twice")),
    "aliases wrong": ("0", lambda year: _counted(year, "aliases wrong")),
    "processes left": ("0", lambda year: str(len(year.processes_left))),
    "labels used": ("", lambda year: f"{year.records[-1].labels:,}" if year.records else ""),
    "core-hours of climbs": (
        "",
        lambda year: f"{sum(each.cpu_seconds for record in year.records for each in record.tries) / 3600:.2f}",
    ),
    "CPU seconds of a week's climbs, first and last quarter": (
        "as the data grow",
        lambda year: _grows(year, _spent),
    ),
    "MB that a week adds, the same": ("the same", lambda year: _grows(year, _added(year))),
    "MB of storage, after `rlhf prune`": (
        "",
        lambda year: (
            f"{year.records[-1].megabytes:.0f}, {year.megabytes_after or float('nan'):.0f}" if year.records else ""
        ),
    ),
    **{
        f"CPU seconds of `rlhf {name}`": ("≤ 2", lambda year, name=name: _asked(year, name))  # type: ignore[misc]
        for name in ("history", "lineage", "impact", "audit", "status")
    },
}
"""Goal and figure by name."""


def goal_table(years: Sequence[Outcome]) -> Iterator[str]:
    """A column for each year."""
    yield f"| figure | goal | {' | '.join(year.title for year in years)} |"
    yield f"|---|---|{'---|' * len(years)}"
    for name, (goal, figure) in GOALS.items():
        yield f"| {name} | {goal} | {' | '.join(figure(year) for year in years)} |"


def incident_table(years: Sequence[Outcome]) -> Iterator[str]:
    """A row for each incident of each year, misses first."""
    columns = ("incident", "year", "week", "may cost gold", "gold of its policy over the last", "noticed", "how")
    yield f"| {' | '.join(columns)} | all whole again |"
    yield f"|{'---|' * (len(columns) + 1)}"
    rows = [(year.title, row) for year in years for row in year.incidents]
    for title, row in sorted(rows, key=lambda found: (_is_fine(found[1]), found[1].name, found[0])):
        cells = (row.name, title, row.week, _yes(row.may_cost_gold), _gold(row), row.when, row.how, _yes(row.well))
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def week_table(year: Outcome) -> Iterator[str]:
    """A row for each week of a year."""
    yield "| week | climbs | made | champion, gold | without gates | never again | CPU s | labels | MB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    yield from map(week_line, year.records)


def week_line(record: WeekRecord) -> str:
    """A week as a row of that table."""
    endings = ", ".join(each.ending for each in record.tries)
    made = ", ".join(dict.fromkeys(stage for each in record.tries for stage in each.made))
    worth = [f"{record.worth[arm]:.2f}" if arm in record.worth else "" for arm in ARMS]
    champion = record.champions.get("policy", "none").rpartition("/")[2]
    kept = f"{_spent(record):.0f} | {record.labels:,} | {record.megabytes:.0f}"
    return f"| {record.week} | {endings} | {made} | {champion}, {' | '.join(worth)} | {kept} |"


def _is_fine(row: Row) -> bool:
    return row.well and not (row.when == "never" and row.may_cost_gold)


def _cost(row: Row) -> bool:
    return row.gold is not None and row.gold.upper < 0


def _gold(row: Row) -> str:
    return f"{row.gold.value:+.2f} [{row.gold.lower:+.2f}, {row.gold.upper:+.2f}]" if row.gold else ""


def _weeks(weeks: Sequence[int]) -> str:
    return f"{len(weeks)}, in {', '.join(map(str, weeks))}" if weeks else "0"


def _grows(year: Outcome, cost: Callable[[WeekRecord], float]) -> str:
    """A mean cost of the weeks of the first and of the last quarter; the week in which the team begins is none."""
    weeks = year.records[1:]
    quarter = max(len(weeks) // 4, 1)
    parts = (weeks[:quarter], weeks[-quarter:]) if weeks else ()
    return ", ".join(f"{sum(map(cost, part)) / len(part):.1f}" for part in parts)


def _spent(record: WeekRecord) -> float:
    return sum(each.cpu_seconds for each in record.tries)


def _added(year: Outcome) -> Callable[[WeekRecord], float]:
    before = {after.week: record.megabytes for record, after in pairwise(year.records)}
    return lambda record: record.megabytes - before[record.week]


def _counted(year: Outcome, name: str) -> str:
    found = year.counts.get(name, "not counted")
    return str(len(found)) if isinstance(found, list) else str(found)


def _asked(year: Outcome, name: str) -> str:
    """CPU seconds, with the exit code where it is not 0: `audit` and `status` say by 1 that something is the matter."""
    found = year.questions.get(name)
    if not found:
        return "not asked"
    return f"{found['cpu_seconds']}" + (f", exit code {found['code']:.0f}" if found["code"] else "")


def _yes(true: bool) -> str:
    return "yes" if true else "no"
