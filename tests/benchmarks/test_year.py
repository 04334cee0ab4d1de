"""Parts of the year that need no climb: what lands, who labels, the book, the weeks of incidents, and the tables."""

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.year import world
from benchmarks.year.alone import Alone
from benchmarks.year.book import Book
from benchmarks.year.calendar import KINDS, SHORT, draw, labellers
from benchmarks.year.gold import Gold
from benchmarks.year.inbox import as_csv, batches_in, land, take_out
from benchmarks.year.incidents.batches import FlippedVendor, HeldOutCopies, RandomAnnotator
from benchmarks.year.incidents.files import CutFile, OtherEncoding, RenamedColumn
from benchmarks.year.incidents.incident import stopped
from benchmarks.year.incidents.machines import MlflowAway, PostgresRestarted, Rebooted, WorkerKilled
from benchmarks.year.journal import Journal, Try, WeekRecord
from benchmarks.year.outcome import Outcome, grade
from benchmarks.year.scene import Scene
from benchmarks.year.size import EVERY, TINY
from benchmarks.year.tables import goal_table, incident_table, week_line
from benchmarks.year.year import Year
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.metrics.estimates import Estimate

LAY = {"demonstrations": ["week-00"], "pairs": ["week-00"], "prompts": ["week-00"]}


def a_try(ending: Any = "done", made: tuple[str, ...] = ("policy",), said: str = "") -> Try:
    return Try(name="t", ending=ending, said=said, made=made, seconds=1.0, cpu_seconds=1800.0)


def a_week(number: int, *tries: Try, **fields: Any) -> WeekRecord:
    given = {"made": {}, "newest": "", "promoted": {}, "champions": {}, "labels": 1000, "megabytes": 3.0} | fields
    return WeekRecord(week=number, tries=tries or (a_try(),), **given)


def a_year(*records: WeekRecord, **fields: Any) -> Outcome:
    given = {"seed": 1, "weeks": 2, "stack": False, "commit": "c", "machine": {}, "incidents": ()} | fields
    return Outcome(records=records, **given)


def test_a_year_lands_the_same_again_and_no_prompt_stands_twice_in_a_table() -> None:
    first, again = (world.deliveries(TINY, 3, 8, people={}) for _ in range(2))
    assert first == again and first != world.deliveries(TINY, 4, 8, people={})
    for table in ("demonstrations", "prompts"):
        prompts = [row["prompt"] for delivery in first for row in getattr(delivery, table)]
        assert len(prompts) == len(set(prompts)) == sum(len(getattr(delivery, table)) for delivery in first)
    compared = Counter(prompt for delivery in first for prompt in {row["prompt"] for row in delivery.pairs})
    assert set(compared.values()) == {1}
    assert [bool(delivery.demonstrations) for delivery in first] == [week % EVERY == 0 for week in range(9)]


def test_topics_come_and_go_and_more_people_are_in_a_hurry() -> None:
    weeks = [world.mood(week, 1) for week in range(53)]
    assert all(sum(week.topics.values()) == pytest.approx(1) == sum(week.styles.values()) for week in weeks)
    for thing in grammar.THINGS:
        shares = [week.topics[thing.name] for week in weeks]
        assert max(shares) > 3 * min(shares)
    assert (weeks[0].styles["brief"], weeks[52].styles["brief"]) == pytest.approx(world.BRIEF)
    drawn = world.draw_prompts(600, weeks[0], random.Random(1))
    often = Counter(grammar.prompts()[prompt].thing for prompt in drawn)
    assert np.corrcoef([often[name] for name in weeks[0].topics], list(weeks[0].topics.values()))[0, 1] > 0.9


def test_honest_people_prefer_what_is_better_and_a_random_one_does_not() -> None:
    rng = random.Random(2)
    (ivy,) = RandomAnnotator.joins
    prompts = world.draw_prompts(300, world.mood(0, 1), rng)

    def right(people: Any) -> float:
        rows = world.compare(prompts, 2, people, rng)
        worth = [[gold_reward(row["prompt"], row[name]) for name in ("response_a", "response_b")] for row in rows]
        told = [(a > b) == (row["better"] == "a") for row, (a, b) in zip(rows, worth, strict=True) if a != b]
        return float(np.mean(told))

    assert right(world.HONEST) > 0.65
    assert abs(right([ivy]) - 0.5) < 0.08


def test_files_land_whole_once_and_are_taken_out(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (stock, *_) = world.deliveries(TINY, 1, 1, people={})
    paths = land(inbox, stock)
    assert list(csv.DictReader(io.StringIO(paths[1].read_text()))) == stock.pairs
    paths[1].write_text("spoilt")
    land(inbox, stock)  # a year that was cut lands again
    assert paths[1].read_text() == "spoilt"
    take_out(inbox, "pairs", "week-00")
    take_out(inbox, "pairs", "week-00")
    assert batches_in(inbox) == {"demonstrations": ["week-00"], "pairs": [], "prompts": ["week-00"]}


def test_the_book_follows_a_batch_through_parents_and_reuse(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.json")
    stages = ("sft", "reward-model", "judge", "policy")
    book.enter({stage: [f"{stage}/1"] for stage in stages}, LAY, {})
    with_bad = {**LAY, "pairs": ["bad", "week-00"]}
    book.enter({stage: [f"{stage}/2"] for stage in stages[1:]}, with_bad, {})  # SFT was reused
    assert book.having("pairs/bad") == {"reward-model/2", "judge/2", "policy/2"}
    assert "demonstrations/week-00" in book.versions["policy/2"]
    again = Book(tmp_path / "book.json")
    again.enter({"policy": ["policy/3"]}, with_bad, {"policy.beta": 0.01})  # trained on what is there
    assert "policy/3" in again.having("pairs/bad")
    again.enter({}, LAY, {})
    assert again.newest == {stage: f"{stage}/1" for stage in stages}
    graded = again.grade("pairs/bad", ["reward-model/2", "policy/1"])
    assert graded == (["reward-model/2"], ["judge/2", "policy/2", "policy/3"], ["policy/1"])


def test_the_book_knows_what_a_promotion_started(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.json")
    book.enter({"sft": ["sft/1"], "reward-model": ["rm/1"], "judge": ["judge/1"], "policy": ["policy/1"]}, LAY, {})
    book.enter({"reward-model": ["rm/2"], "judge": ["judge/2"]}, {**LAY, "pairs": ["bad", "week-00"]}, {})
    made = {"policy": ["policy/1", "policy/2"]}
    book.enter_beside(made, {**LAY, "pairs": ["bad", "week-00"]}, {"reward-model": "rm/1", "sft": "sft/1"})
    assert book.versions["policy/1"] == ["demonstrations/week-00", "pairs/week-00", "prompts/week-00"]
    assert book.having("pairs/bad") == {"rm/2", "judge/2", "policy/2"}  # by way of the newest judge


@pytest.mark.parametrize("seed", range(20))
def test_incidents_have_weeks_of_their_own_and_end_within_the_year(seed: int) -> None:
    servers = (PostgresRestarted, MlflowAway, Rebooted)
    for weeks, kinds in ((52, KINDS), (6, (*SHORT, *servers[:1])), (8, (*SHORT, *servers))):
        drawn = draw(weeks, seed, stack=True)
        assert sorted(kind.name for kind in kinds) == sorted(incident.name for incident in drawn)
        assert len({incident.week for incident in drawn}) == len(drawn)
        assert all(1 <= incident.week <= incident.week + incident.lasts <= weeks for incident in drawn)
        assert drawn[0].week < drawn[-1].week
    assert all(not incident.needs_stack for weeks in (52, 8) for incident in draw(weeks, seed, stack=False))
    costly = draw(12, seed, stack=False, costly=True)
    assert len(costly) == 8 and all(incident.may_cost_gold for incident in costly)
    with pytest.raises(ValueError, match="5 incidents need as many weeks"):
        draw(4, seed, stack=False)


def test_who_joins_labels_from_that_week_on() -> None:
    (joining,) = [RandomAnnotator(3, 1)]
    people = labellers([joining], 5)
    assert [len(people[week]) for week in range(1, 6)] == [6, 6, 7, 7, 7]


def test_broken_files_are_not_what_was_sent() -> None:
    sound = as_csv(world.deliveries(TINY, 1, 1, people={})[1].pairs).encode()
    cut = CutFile(1, 1).spoil(sound)
    assert sound.startswith(cut) and not cut.endswith(b"\n") and len(cut) < 0.6 * len(sound)
    assert b"\0" in OtherEncoding(1, 1).spoil(sound)
    header = RenamedColumn(1, 1).spoil(sound).splitlines()[0]
    assert header == b"prompt,response_a,response_b,preference,annotator"


def test_gold_is_weighted_as_people_ask_and_compares_prompt_by_prompt(tmp_path: Path) -> None:
    gold = Gold(tmp_path, 36, 1)
    things = [grammar.prompts()[prompt].thing for prompt in gold.prompts]
    assert Counter(things) == dict.fromkeys(world.mood(0, 1).topics, 3)
    (tmp_path / "gold").mkdir()
    for version, text in (("year-policy-1", ""), ("year-policy-2", "hope that helps .")):
        (tmp_path / "gold" / f"{version}.json").write_text(
            json.dumps([[text if thing == "kettle" else "", True] for thing in things])
        )
    kettles = {thing.name: float(thing.name == "kettle") for thing in grammar.THINGS}
    only = world.Week(kettles, dict.fromkeys(grammar.STYLES, 1.0))
    assert gold.gain("year-policy/2", "year-policy/1", only) == pytest.approx((0.8, 0.8, 0.8, 36))
    assert gold.gain("year-policy/2", "year-policy/1", world.mood(0, 1)).value < 0.4


def test_weeks_are_kept_whole_and_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "weeks")
    for number in (10, 2):
        journal.write(a_week(number, notes={"x": {"y": [1]}}, change=Estimate(1, 0, 2, 3)))
    assert list(journal.read()) == [2, 10]
    assert journal.read()[2] == a_week(2, notes={"x": {"y": [1]}}, change=Estimate(1, 0, 2, 3))


def test_cost_of_a_week_is_told_for_the_first_and_the_last_quarter() -> None:
    sizes = (3.0, 4.0, 6.0, 9.0, 13.0)
    weeks = [a_week(number, *[a_try()] * (number or 1), megabytes=size) for number, size in enumerate(sizes)]
    lines = list(goal_table([a_year(*weeks)]))
    assert "| CPU seconds of a week's climbs, first and last quarter | as the data grow | 1800.0, 7200.0 |" in lines
    assert "| MB that a week adds, the same | the same | 1.0, 4.0 |" in lines
    alone = list(goal_table([a_year(weeks[0])]))
    assert "| MB that a week adds, the same | the same |  |" in alone


def test_a_year_stops_after_the_week_that_it_is_asked_for(tmp_path: Path) -> None:
    year = Year(Scene(Alone(tmp_path), TINY, 1), [], weeks=5)  # nothing is begun that a further week could be lived on
    for number in (0, 1):
        year.journal.write(a_week(number))
    assert list(year.live(until=1)) == []


def test_when_an_incident_was_noticed_depends_on_what_had_been_made() -> None:
    refused, gate = a_try("refused", (), "error: a column is missing\nmore"), a_try("gate", ("reward-model",))
    assert stopped({3: a_week(3, refused, a_try())}, 3, 3) == (
        "before training",
        "week 3, refused: error: a column is missing",
        True,
    )
    assert stopped({3: a_week(3, gate)}, 3, 3).when == "before promotion"  # type: ignore[union-attr]
    assert stopped({3: a_week(3), 4: a_week(4, gate)}, 3, 4).when == "later"  # type: ignore[union-attr]
    assert stopped({3: a_week(3), 4: a_week(4)}, 3, 4) is None
    assert FlippedVendor(3, 1).grade({3: a_week(3)}).when == "never"
    named = a_try().model_copy(update={"sources": {"pairs/vendor-03.csv": "contradicts"}})
    assert FlippedVendor(3, 1).grade({3: a_week(3, named)})[:2] == ("before promotion", "week 3, named: contradicts")
    assert FlippedVendor(3, 1).grade({3: a_week(3), 4: a_week(4, named)}).when == "later"
    leak = HeldOutCopies(3, 1)
    assert not leak.grade({3: a_week(3, notes={leak.name: {"trained_on": 2}})}).ended_well
    killed = WorkerKilled(3, 1)
    assert killed.grade({3: a_week(3, a_try("crashed"), a_try())}).ended_well
    assert not killed.grade({3: a_week(3, a_try("crashed"), a_try("crashed"))}).ended_well


def test_tables_tell_misses_first_and_what_must_not_be() -> None:
    worse, better = Estimate(-1.0, -1.5, -0.5, 9), Estimate(1.0, 0.5, 1.5, 9)
    weeks = [
        a_week(0, worth={"champion": 1.0, "without gates": 1.0, "never again": 1.0}),
        a_week(1, worth={"champion": 2.0, "without gates": 0.0, "never again": 1.0}, missed=better),
        a_week(2, worth={"champion": 0.0, "without gates": 0.0, "never again": 1.0}, change=worse, made_better=worse),
    ]
    rows = grade([WorkerKilled(1, 1), FlippedVendor(2, 1)], {week.week: week for week in weeks})
    year = a_year(*weeks, incidents=rows, counts={"versions made twice": 1, "aliases wrong": []})
    assert year.harmful() == [2] and year.not_promoted() == [1] and year.mean_worth("champion") == 1.0
    assert year.problems() == ["week 2: a worse policy became champion", "versions made twice: 1"]
    (header, _, first, second) = incident_table([year])
    assert "vendor batch with labels flipped" in first and "worker killed" in second and "noticed" in header
    assert "-1.00 [-1.50, -0.50]" in first
    lines = list(goal_table([year]))
    assert any(line.startswith("| incidents that may cost gold") and line.endswith("| 0 | 1; 1 |") for line in lines)
    assert (
        lines[0] == "| figure | goal | seed 1, 2 weeks, small, no servers |" and year.file == "year-1-small-alone.json"
    )
    assert "| core-hours of climbs |  | 1.50 |" in lines
    assert "| weeks in which a better policy was not promoted | ≤ 5 % | 1, in 1 (33%) |" in lines
    assert week_line(weeks[1]).startswith("| 1 | done | policy | none, 2.00 | 0.00 | 1.00 | 1800 |")
