"""Planted populations that no single row betrays, and what the suites say about them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_contracts.records import COLUMNS, SPLIT, Kind
from data_contracts.suites.checks import Population, PopulationViolation, Suites, load_suite
from data_contracts.suites.drift import profile
from data_contracts.suites.measures import gather, measure


def sound(kind: Kind, rows: int = 100) -> pd.DataFrame:
    """A table that meets contract and suite; every fifth row is held out."""
    table = pd.DataFrame(
        {
            "prompt": [f"please explain thing number {i}" for i in range(rows)],
            "response": [f"thing number {i} is a thing" for i in range(rows)],
            "chosen": [f"thing {i} is good" + " indeed" * (i % 2) for i in range(rows)],
            "rejected": [f"thing {i} is bad" + " indeed" * ((i + 1) % 2) for i in range(rows)],
            "votes_chosen": 3,
            "votes_rejected": 1,
            "votes_tied": 0,
            "grade": 0.0,
            "group": [f"group {i}" for i in range(rows)],
            "source": "made up",
            "row": range(1, rows + 1),
        }
    )
    splits = ["test" if i % 5 == 0 else "train" for i in range(rows)]
    return table[list(COLUMNS[kind])].assign(split=splits)


@pytest.fixture
def suites(tmp_path: Path) -> Suites:
    return Suites(tmp_path / "docs")


def numbers(kind: Kind, table: pd.DataFrame) -> pd.DataFrame:
    assert SPLIT in table
    return gather(kind, [measure(kind, table, np.zeros(len(table), dtype=np.int64))])


def check(suites: Suites, kind: Kind, table: pd.DataFrame) -> Population:
    return suites.check(kind, numbers(kind, table))


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_a_sound_table_passes_and_its_report_is_json_without_rows(suites: Suites, kind: Kind) -> None:
    population = check(suites, kind, sound(kind))
    assert len(population.findings) == len(load_suite(kind)["expectations"])
    assert all(item.holds and item.expected and item.observed != "unknown" for item in population.findings)
    text = json.dumps(population.report)
    assert json.loads(text)["success"] is True
    assert "thing number" not in text


def repeat_one(column: str, text: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{column: text})


def one_word(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{column: [f"word{i}" for i in range(len(table))]})


def a_book(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(
        **{column: ["word " * 20_001 if i < 3 else f"word {i}" for i in range(len(table))]}
    )


BOOKS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": ("response",),
    "preferences": ("chosen", "rejected"),
    "prompts": ("prompt",),
}
PLANTED: list[tuple[Kind, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("demonstrations", lambda table: table.head(9), "fewer demonstrations"),
    ("demonstrations", repeat_one("response", "no comment today"), "one response stands for most prompts"),
    ("demonstrations", one_word("response"), "responses are nearly empty"),
    ("demonstrations", lambda t: t.assign(response=t["prompt"] + " " + t["response"]), "begin with their prompt"),
    ("demonstrations", lambda t: t.assign(response=[f"this is answer {i // 10}" for i in range(len(t))]), "memory"),
    ("demonstrations", lambda table: table.assign(split="train"), "large groups upset the split"),
    ("preferences", lambda table: table.head(39), "fewer pairs"),
    ("preferences", repeat_one("prompt", "the only prompt"), "a few prompts make up nearly all pairs"),
    ("preferences", repeat_one("chosen", "the usual answer"), "a few responses win nearly all pairs"),
    ("preferences", lambda t: t.assign(chosen=t["chosen"] + " and more and more"), "length alone tells chosen"),
    ("preferences", lambda t: t.assign(rejected=t["rejected"] + " and more and more"), "length alone tells chosen"),
    ("preferences", one_word("chosen"), "chosen responses are nearly empty"),
    *(
        (kind, a_book(column), f"more than one {column} in a hundred is a book")
        for kind, columns in BOOKS.items()
        for column in columns
    ),
    ("preferences", one_word("rejected"), "rejected responses are nearly empty"),
    ("preferences", lambda table: table.assign(votes_rejected=3), "annotators were undecided"),
    ("preferences", lambda table: table.assign(split="test"), "large groups upset the split"),
    ("prompts", lambda table: table.head(19), "fewer prompts"),
    ("prompts", repeat_one("prompt", "the only prompt"), "most prompts are repeats"),
    ("prompts", one_word("prompt"), "prompts are nearly empty"),
    ("prompts", lambda table: table.assign(split="train"), "large groups upset the split"),
]


@pytest.mark.parametrize(("kind", "plant", "reason"), PLANTED, ids=[f"{kind}: {why}" for kind, _, why in PLANTED])
def test_a_planted_population_is_refused(
    suites: Suites, kind: Kind, plant: Callable[[pd.DataFrame], pd.DataFrame], reason: str
) -> None:
    population = check(suites, kind, plant(sound(kind)))
    assert any(reason in item.reason for item in population.broken)
    assert population.report["success"] is False
    assert "Mend: " in str(PopulationViolation(kind, population))


def test_the_message_says_what_is_and_what_should_be(suites: Suites) -> None:
    population = check(suites, "prompts", one_word("prompt")(sound("prompts")).tail(15))
    assert str(PopulationViolation("prompts", population)).splitlines() == [
        "suite prompts: 2 expectations on the table as a whole do not hold",
        "  fewer prompts cannot be split and trained on: rows is 15, expected at least 20",
        "    Mend: add prompts.",
        "  prompts are nearly empty or whole books: prompt_words is 1, expected at least 2 and at most 4000",
        "    Mend: check which column was read as prompt.",
        "  To take such data and only be told: contract: {tables: report}",
    ]


def test_a_table_like_the_champions_has_not_drifted(suites: Suites) -> None:
    known = profile(numbers("preferences", sound("preferences")))
    again = suites.check_drift("preferences", numbers("preferences", sound("preferences", rows=150)), known)
    assert not again.broken and len(again.findings) > 10


DRIFTED: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    (lambda table: table.head(40), "less than half of the champion's rows"),
    (lambda table: table.assign(chosen=table["chosen"] + " and more"), "the longer response is preferred more or less"),
    (lambda table: table.assign(votes_rejected=3), "undecided more or less often"),
    (lambda table: table.assign(prompt=table["prompt"] + " please" * 20), "much longer or shorter"),
    (lambda table: table.assign(source=["made up", "elsewhere"] * 50), "mix of sources changed"),
]


@pytest.mark.parametrize(("drift", "reason"), DRIFTED)
def test_a_table_unlike_the_champions_has_drifted(
    suites: Suites, drift: Callable[[pd.DataFrame], pd.DataFrame], reason: str
) -> None:
    known = profile(numbers("preferences", sound("preferences")))
    population = suites.check_drift("preferences", numbers("preferences", drift(sound("preferences"))), known)
    assert any(reason in item.reason for item in population.broken)


def test_data_docs_show_numbers_and_no_text(suites: Suites, tmp_path: Path) -> None:
    check(suites, "prompts", sound("prompts"))
    suites.build_docs()
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "docs").rglob("*.html")]
    assert any("prompt_words" in page for page in pages)
    assert not any("thing number" in page for page in pages)
    assert not any(".gif" in page for page in pages)
    assert not any(".otf" in page for page in pages)
    assert sum(path.stat().st_size for path in (tmp_path / "docs").rglob("*")) < 2**19


def test_every_expectation_has_been_broken_by_a_planted_table() -> None:
    for kind in COLUMNS:
        reasons = [item["meta"]["reason"] for item in load_suite(kind)["expectations"]]
        planted = [why for planted_kind, _, why in PLANTED if planted_kind == kind]
        assert [reason for reason in reasons if not any(why in reason for why in planted)] == []


def test_great_expectations_is_loaded_only_when_a_suite_runs() -> None:
    code = (
        "import sys, data_contracts.suites.checks; print('great_expectations' in sys.modules, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


WARNING_AFTER_A_SUITE = """
import sys, warnings
from pathlib import Path
from data_contracts.suites.checks import Suites
from tests.data_contracts.suites.test_suites import check, sound
check(Suites(Path(sys.argv[1])), "prompts", sound("prompts"))
warnings.warn("a state is damaged")
"""


@pytest.mark.slow
def test_what_a_process_warns_of_after_a_suite_is_shown(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WARNING_AFTER_A_SUITE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "UserWarning: a state is damaged" in done.stderr
