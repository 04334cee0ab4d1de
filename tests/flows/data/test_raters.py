"""Raters of an ingestion: gathered from rows and from votes within them, left out, weighed, and shown."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows.config.columns import ColumnFormat
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.config.raters import RatersConfig
from flows.data.audits.labels import measure_labels
from flows.data.audits.rater_report import rater_page, rater_remarks, rater_sheet
from flows.data.rater_look import look_at_raters
from flows.data.raters import Raters
from flows.data.sources import gold_questions, open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from rlhf_core.metrics.raters import RANDOM, RaterFigures
from tests.conftest import Finished

NAMES = ("ann", "bo", "coin", "cy", "di")
PAIRS = 300


def said() -> list[dict[str, str]]:
    """What three of five people said of each pair: all of them are right nine times in ten, but for one."""
    rng = np.random.default_rng(1)
    return [
        {
            str(name): "a" if rng.random() < (0.5 if name == "coin" else 0.9) else "b"
            for name in rng.choice(NAMES, 3, replace=False)
        }
        for _ in range(PAIRS)
    ]


def texts(pair: int) -> tuple[str, str, str]:
    return f"How do I mend part {pair}?", f"Turn part {pair} off first, and then call.", f"I do not know part {pair}."


@pytest.fixture(scope="module")
def within_rows(tmp_path_factory: pytest.TempPathFactory) -> FileData:
    """Votes by name within each row."""
    path = tmp_path_factory.mktemp("votes") / "votes.jsonl"
    names = ("prompt", "response_a", "response_b")
    rows = [{**dict(zip(names, texts(pair), strict=True)), "votes": votes} for pair, votes in enumerate(said())]
    path.write_text("\n".join(map(json.dumps, rows)))
    return FileData(preferences=(FileSource(path=str(path)),))


@pytest.fixture(scope="module")
def by_rows(tmp_path_factory: pytest.TempPathFactory) -> FileData:
    """The same votes, one row for each."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["prompt", "a", "b", "who", "better"])
        out.writerows([*texts(pair), name, vote] for pair, votes in enumerate(said()) for name, vote in votes.items())
    columns = {"prompt": "prompt", "responses": ["a", "b"], "label": "better", "annotator": "who"}
    form = ColumnFormat.model_validate({"columns": columns, "labels": {"a": "first", "b": "second"}})
    return FileData(preferences=(FileSource(path=str(path), format=form, repeats="votes"),))


def ingested(data: FileData, settings: RatersConfig, folder: Path) -> tuple[Table, dict[str, RaterFigures]]:
    raters = Raters(settings, lambda weigh: open_sources(data, seed=0, spare=weigh), gold_questions(data))
    contract = ContractConfig(max_quarantined=1.0)
    shares = Shares(test=0.2, judge=0.2)
    table = make_tables(raters.open_tables(), shares, contract, folder=folder / "work", clock=Clock())["preferences"]
    return table, raters.figures()


def test_votes_within_rows_and_rows_as_votes_say_the_same_of_raters(
    within_rows: FileData, by_rows: FileData, tmp_path: Path
) -> None:
    _, one = ingested(within_rows, RatersConfig(), tmp_path / "one")
    _, other = ingested(by_rows, RatersConfig(), tmp_path / "other")
    assert one == other and list(one) == list(NAMES)
    assert sum(figures.labels for figures in one.values()) == 3 * PAIRS
    assert {name for name, figures in one.items() if figures.verdicts == (RANDOM,)} == {"coin"}


def test_labels_without_a_name_among_named_ones_count_as_nobodys(by_rows: FileData, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = Path(by_rows.preferences[0].path).read_text()
    path.write_text(lines.replace(",di,", ",,").replace(",cy,", ", ,"))
    data = FileData(preferences=(by_rows.preferences[0].model_copy(update={"path": str(path)}),))
    table, figures = ingested(data, RatersConfig(), tmp_path)
    assert list(figures) == ["ann", "bo", "coin"] and sum(map(len, said())) == table.counts.records
    noise = measure_labels(table).noise
    assert {name for name in noise if name.startswith("kappa")} == {
        f"kappa of {one} and {other}" for one, other in (("ann", "bo"), ("ann", "coin"), ("bo", "coin"))
    }
    whole = measure_labels(ingested(by_rows, RatersConfig(), tmp_path / "whole")[0]).noise
    assert noise["raw_agreement"].value == pytest.approx(whole["raw_agreement"].value)
    with table.raw_votes.path.open(newline="") as file:
        assert {vote["annotator"] for vote in csv.DictReader(file)} == {"ann", "bo", "coin", ""}


@pytest.mark.parametrize("which", ["within_rows", "by_rows"])
def test_who_answers_at_random_is_left_out_and_counted_with_the_reason(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(which)
    table, figures = ingested(data, RatersConfig(exclude_random=True), tmp_path)
    coins = sum("coin" in votes for votes in said())
    assert table.counts.left_out[f"label of coin, a rater who is left out: {RANDOM}"] == coins
    assert figures["coin"].left_out == RANDOM and figures["coin"].labels == coins
    assert int((table.votes.chosen + table.votes.rejected).sum()) == 3 * PAIRS - coins - lone_ties(data, tmp_path)
    assert rater_remarks(figures) == []


def lone_ties(data: FileData, folder: Path) -> int:
    """Votes on pairs that two are left of who disagree, where a row holds them all: it is left out as a tie."""
    if data.preferences[0].format is not None:
        return 0
    kept = [[vote for name, vote in votes.items() if name != "coin"] for votes in said()]
    return sum(2 for votes in kept if len(votes) == 2 and len({*votes}) == 2)


def test_low_agreement_leaves_out_by_all_of_its_interval(by_rows: FileData, tmp_path: Path) -> None:
    _, figures = ingested(by_rows, RatersConfig(exclude_below=0.2), tmp_path)
    assert {name for name, item in figures.items() if item.left_out} == {"coin"}
    assert figures["coin"].left_out == "agrees with the others less than 0.2 beyond chance"


def test_votes_by_name_in_several_rows_on_a_pair_are_one_of_each_person_by_its_weight(
    within_rows: FileData, tmp_path: Path
) -> None:
    path = tmp_path / "twice.jsonl"
    lines = Path(within_rows.preferences[0].path).read_text().splitlines()
    other = [json.dumps({**json.loads(line), "votes": {"ann": "b", "eve": "b", "flo": "b"}}) for line in lines]
    path.write_text("\n".join([*lines, *other]))
    data = FileData(preferences=(FileSource(path=str(path), repeats="votes"),))
    table, figures = ingested(data, RatersConfig(weights={"ann": 2}), tmp_path)
    anns = sum("ann" in votes for votes in said())
    assert table.counts.left_out["later vote of the same annotator on this pair"] == anns
    assert figures["ann"].labels == figures["eve"].labels == PAIRS
    assert int((table.votes.chosen + table.votes.rejected).sum()) == 7 * PAIRS - anns


def test_gold_questions_are_found_among_the_pairs_in_any_order(by_rows: FileData, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    names = ("prompt", "chosen", "rejected")
    gold.write_text("\n".join(json.dumps(dict(zip(names, texts(pair), strict=True))) for pair in range(100)))
    data = by_rows.model_copy(update={"gold": (FileSource(path=str(gold)),)})
    _, figures = ingested(data, RatersConfig(), tmp_path)
    for name, item in figures.items():
        answers = [votes[name] == "a" for votes in said()[:100] if name in votes]
        assert item.gold is not None and item.gold.n == len(answers)
        assert item.gold.value == pytest.approx(np.mean(answers))


def test_gold_questions_with_either_answer_measure_nobody_and_are_told(by_rows: FileData, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    names = ("prompt", "chosen", "rejected")
    known = [dict(zip(names, texts(pair), strict=True)) for pair in range(100)]
    other = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in known[:40]]
    gold.write_text("\n".join(map(json.dumps, [*known, *other, *known[:10]])))
    data = by_rows.model_copy(update={"gold": (FileSource(path=str(gold)),)})
    raters = Raters(RatersConfig(), lambda weigh: open_sources(data, seed=0, spare=weigh), gold_questions(data))
    assert len(list(raters.open_tables()["preferences"])) > 0
    measured = raters.figures()["ann"].gold
    assert measured is not None and measured.n == sum("ann" in votes for votes in said()[40:100])
    (remark,) = raters.remarks()
    assert remark.startswith("data.gold: 40 pairs have either response as the better one")


@pytest.mark.parametrize("which", ["within_rows", "by_rows"])
def test_a_name_that_no_rater_has_is_told_with_the_nearest(which: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(which)
    settings = RatersConfig(exclude=("Ann", "nobody", "bo"), weights={"coins": 2, "di": 2})
    raters = Raters(settings, lambda weigh: open_sources(data, seed=0, spare=weigh))
    assert len(list(raters.open_tables()["preferences"])) > 0 and "bo" in raters.figures()
    assert [remark.partition(", and no label is of anybody called so") for remark in raters.remarks()] == [
        ("contract.raters.exclude names Ann", ", and no label is of anybody called so", "; did you mean ann?"),
        ("contract.raters.exclude names nobody", ", and no label is of anybody called so", ""),
        ("contract.raters.weights names coins", ", and no label is of anybody called so", "; did you mean coin?"),
    ]


def test_a_rater_is_named_in_exclude_or_in_weights() -> None:
    with pytest.raises(ValueError, match="exclude and weights both name ann"):
        RatersConfig(exclude=("ann",), weights={"ann": 2})


def test_the_report_names_who_is_to_be_looked_at_first(by_rows: FileData, tmp_path: Path) -> None:
    _, figures = ingested(by_rows, RatersConfig(), tmp_path)
    assert rater_sheet(figures).rows[0][0] == "coin"
    (remark,) = rater_remarks(figures)
    assert remark.startswith("rater coin answers at random: e-value ") and "contract.raters.exclude" in remark
    assert "| coin |" in rater_page(figures) and rater_page({}) == ""


def test_a_look_at_a_file_says_who_answers_at_random(within_rows: FileData, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(within_rows.preferences[0].path)
    look_at_raters(path, gold=None, as_json=False)
    assert "rater coin answers at random" in " ".join(capsys.readouterr().out.split())
    look_at_raters(path, gold=path, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert figures["coin"]["verdicts"] == [RANDOM] and figures["ann"]["verdicts"] == []
    assert figures["ann"]["gold"][0] > 0.8 > figures["coin"]["gold"][0]


def test_a_look_reads_a_configuration_by_its_settings(
    by_rows: FileData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ladder.yaml"
    contract = {"raters": {"exclude": ["coin"]}}
    path.write_text(yaml.safe_dump({"project": "desk", "data": by_rows.model_dump(mode="json"), "contract": contract}))
    look_at_raters(path, gold=None, as_json=True)
    assert json.loads(capsys.readouterr().out)["coin"]["left_out"] == "named in contract.raters.exclude"
    with pytest.raises(InputError, match=r"data\.gold says which answers are known"):
        look_at_raters(path, gold=path, as_json=False)


def test_labels_without_names_are_answered_by_what_to_write(rlhf: Callable[..., Finished], tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "one", "rejected": "two"}))
    done = rlhf("data", "raters", str(path))
    assert done.returncode == 2 and "no label says whose it is" in done.stderr and "annotator" in done.stderr


@pytest.mark.parametrize("which", ["within_rows", "by_rows"])
def test_weights_are_no_people_to_the_ceiling_of_held_out_labels(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(which)
    table, _ = ingested(data, RatersConfig(weights={"ann": 9}), tmp_path / "weighed")
    behind = Counter(table.votes.held_out)
    assert set(behind) == {3, (1, 1, 9)} and sum(behind.values()) > 30
    plain, _ = ingested(data, RatersConfig(), tmp_path / "plain")
    weighed_ceiling, ceiling = (measure_labels(each).noise["held_out_ceiling"].value for each in (table, plain))
    assert weighed_ceiling < ceiling  # where ann voted, one person decides and not the majority of three


def test_the_one_vote_of_a_weighed_rater_is_no_agreement(tmp_path: Path) -> None:
    path = tmp_path / "single.jsonl"
    names = ("prompt", "response_a", "response_b")
    rows = [{**dict(zip(names, texts(pair), strict=True)), "votes": {"ann": "ab"[pair % 2]}} for pair in range(100)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = FileData(preferences=(FileSource(path=str(path)),))
    table, _ = ingested(data, RatersConfig(weights={"ann": 3}), tmp_path)
    assert int(table.votes.chosen.max()) == 3 and set(table.votes.held_out) == {(3,)}
    assert measure_labels(table).noise == {}
