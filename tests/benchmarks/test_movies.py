"""The data of the climb on film reviews: pairs that begin alike, real votes, sentences as snippets are written."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.quality.movies import sentences, snippets
from benchmarks.quality.movies.__main__ import app
from benchmarks.quality.movies.prepare import PAIRS, SENTENCES, MissingData, prepare
from benchmarks.quality.movies.snippets import Snippet, preferences, share_openings, votes
from benchmarks.quality.movies.study import curve
from benchmarks.quality.movies.task import ask

RATED = [
    Snippet("The film is a joy to watch.", [3, 2, 4]),
    Snippet("The film never comes to life.", [-2, 2, -3, -1]),
    Snippet("The film has its moments, too.", [1, 0, 1]),
    Snippet("The plot makes no sense.", [-2, -2, -1]),
    Snippet("The acting is superb throughout.", [4, 3, 4]),
    Snippet("Nothing else begins like this one.", [0, 0, 0]),
    Snippet("The film dies.", [-4, -4, -4]),
]


def test_a_snippet_goes_on_from_the_longest_opening_that_it_shares() -> None:
    shared = {opening: {snippet.text for snippet in members} for opening, members in share_openings(RATED).items()}
    texts = [snippet.text for snippet in RATED]
    assert shared == {"The film": set(texts[:3]), "The": set(texts[3:5])}  # the last one hardly goes on


def test_of_an_opening_each_goes_with_the_next_and_nothing_but_the_continuation_differs() -> None:
    rows = list(preferences(RATED))
    assert [row["prompt"] for row in rows] == [ask("The film")] * 3 + [ask("The")]
    used = [row[side] for row in rows for side in ("response_a", "response_b")]
    assert {text: used.count(text) for text in used} == {
        "is a joy to watch.": 2,
        "never comes to life.": 2,
        "has its moments, too.": 2,
        "plot makes no sense.": 1,
        "acting is superb throughout.": 1,
    }


def test_no_order_of_the_file_changes_a_pair() -> None:
    assert list(preferences(RATED[::-1])) == list(preferences(RATED))


def test_no_opening_has_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snippets, "MOST_OF_AN_OPENING", 2)
    assert [len(members) for members in share_openings(RATED).values()] == [2, 2]


def test_a_vote_is_two_ratings_and_no_rating_votes_twice() -> None:
    assert votes([3, 2, 4, 1], [-2, 2, 5]) == ["a", "tie", "b"]


FORMS = {"i": "I", "the": "the", "saw": "saw", "it": "it", "in": "in", "paris": "Paris", "and": "and", "liked": "liked"}


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("i saw it in paris , and i liked it .", "I saw it in Paris, and I liked it."),
        ("in paris i saw the liked it and liked it !", "In Paris I saw the liked it and liked it!"),
        ("i saw it in london , and i liked it .", None),  # nobody says how it is written
        ("i saw it ( in paris ) and i liked it .", None),
        ("i saw it .", None),  # too short
        (" ".join(["it"] * 31) + " .", None),
        ("i saw it in paris , and i liked it", None),
    ],
)
def test_a_line_is_written_as_a_snippet_is(line: str, written: str | None) -> None:
    assert sentences.rewrite(line, FORMS) == written


def test_words_are_written_as_most_snippets_write_them_inside_a_sentence() -> None:
    forms = sentences.written_forms(["Paris, the Paris of I", "The the (paris) Paris!"])
    assert forms == {"the": "the", "paris": "Paris", "of": "of", "i": "I"}


def test_a_review_gives_one_sentence_and_no_opening_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "OPENING_WORDS", (2, 2))
    first, second = "i saw it in paris and i liked it .", "it saw the paris and i liked it ."
    reviews = {"a": [first], "b": [first, second], "c": [first], "d": ["what is this"]}
    rows = list(sentences.demonstrations(reviews, FORMS))
    assert [row["prompt"] for row in rows] == [ask("I saw"), ask("It saw")]
    assert rows[0]["completion"] == "it in Paris and I liked it."


def write_raw(folder: Path, *, published: bool) -> None:
    """The raw files of `RATED` and of one review, in either form of the ratings."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "movie_reviews.zip", "w") as archive:
        archive.writestr("movie_reviews/pos/one.txt", "film has no life , makes no sense , too .\n")
    if not published:
        (folder / "sentiment-ratings").mkdir()
        with gzip.open(folder / snippets.LINES, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"id": "1", **snippet._asdict()}) + "\n" for snippet in RATED)
        return
    tables = {
        "movieReviewSnippets_GroundTruth": [f"{row}\t0.5\t{text}\r\n" for row, (text, _) in enumerate(RATED)],
        "movieReviewSnippets_anonDataRatings": [f"{row}\t0.5\t1.0\t{said}\r\n" for row, (_, said) in enumerate(RATED)],
    }
    with tarfile.open(folder / snippets.ARCHIVE, "w:gz") as archive:
        for name, rows in tables.items():
            content = "".join(rows).encode()
            info = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_both_forms_of_the_ratings_give_the_same_tables(tmp_path: Path) -> None:
    for name, published in (("lines", False), ("archive", True)):
        write_raw(tmp_path / name, published=published)
        assert prepare(tmp_path / name, tmp_path / f"{name}-out") == {PAIRS: 4, SENTENCES: 1}
    for table in (PAIRS, SENTENCES):
        assert (tmp_path / "lines-out" / table).read_bytes() == (tmp_path / "archive-out" / table).read_bytes()


def test_a_file_that_is_not_there_is_named_with_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"hutto_ICWSM_2014.tar.gz is not there; take it from additional_resources"):
        prepare(tmp_path, tmp_path / "out")
    done = CliRunner().invoke(app, ["prepare", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and not (tmp_path / "out").exists()


def test_a_curve_has_means_over_the_answers_of_each_evaluation() -> None:
    pytest.importorskip("vaderSentiment")
    row = {"prompt": "p", "finished": True, "kl_to_sft_nats": 1.0, "reward_score": 2.0, "judge_score": 0.0}
    said = [(0, "a dull film"), (0, "a film"), (4, "a great film"), (4, "great great great")]
    points = curve([json.dumps({**row, "step": step, "response": text}) for step, text in said])
    assert [(point["step"], point["kl"], point["words"]) for point in points] == [(0, 1.0, 2.5), (4, 1.0, 3.0)]
    assert points[0]["vader"] < 0 < points[1]["vader"]
