"""Columns mapped in a configuration: what is said of a mistake before any file is opened."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.config.columns import ColumnFormat, Meaning
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.config.loading import load_ingest_config
from flows.data.ingest import IngestPlan
from flows.registry.keys import content_key

PAIR = "prompt: q, responses: [a, b]"
LABELS = "labels: {A: first, B: second}"
BAD = [
    (
        f"{{columns: {{promt: q, responses: [a, b], label: p}}, {LABELS}}}",
        "columns.promt' is unknown; did you mean 'pro",
    ),
    (f"{{colums: {{{PAIR}, label: p}}}}", "format.colums' is unknown; did you mean 'columns'?"),
    (
        f"{{columns: {{{PAIR}, label: p}}, labels: {{A: first, B: secnd}}}}",
        "labels': 'B' must say first, second, tie or",
    ),
    (
        f"{{columns: {{{PAIR}, label: p}}, labels: {{A: first, B: {{second: -1}}}}}}",
        "'B' must say first, second, tie or",
    ),
    (
        f"{{columns: {{{PAIR}, label: p}}, labels: {{A: first, ' a': second}}}}",
        "'a' stands twice, as case and space do",
    ),
    (f"{{columns: {{{PAIR}, label: p}}, labels: {{A: first, tie: tie}}}}", "no label says second, so that all pairs"),
    (
        f"{{columns: {{{PAIR}, label: p}}, labels: {{A: {{first: 2}}, B: second}}}}",
        "and others do not; write all of them",
    ),
    (f"{{columns: {{{PAIR}, label: p}}}}", "columns.label is not explained; write what each label says"),
    (f"{{columns: {{{PAIR}}}}}", "no column says which response is better; name one as `label`"),
    (f"{{columns: {{{PAIR}, scores: [x, y]}}, {LABELS}}}", "explain columns.label, which names no column; name it"),
    (f"{{columns: {{{PAIR}, label: a}}, {LABELS}}}", "column 'a' is used more than once (responses and label)"),
    (f"{{columns: {{{PAIR}, scores: [x, y, z]}}}}", "there are 2 responses and 3 scores; name one for each"),
    (f"{{columns: {{{PAIR}, scores: s, ranks: r}}}}", "scores and ranks both say which response is better"),
    (f"{{columns: {{{PAIR}, label: [x, y], annotator: z}}, {LABELS}}}", "each column of label is an annotator; leave"),
    (
        f"{{columns: {{{PAIR}, label: x, grade: g}}, scale: {{first: 1, second: 7}}}}",
        "both say by how much a response is",
    ),
    (f"{{columns: {{{PAIR}, label: x}}, scale: {{first: 1, second: 1}}}}", "first and second are the same end"),
    (f"{{columns: {{{PAIR}, label: x, names: [m]}}}}", "names are what `label` calls the two responses; name two"),
    (f"{{columns: {{{PAIR}, votes: {{first: x, secnd: y}}}}}}", "votes.secnd' is unknown; did you mean 'second'?"),
    (
        "{columns: {prompt: q, responses: [a, b, c], label: p}, labels: {A: first, B: second}}",
        "compares two responses, not",
    ),
    ("{columns: {prompt: q, chosen: a}}", "chosen and rejected need one another; name both"),
    ("{columns: {prompt: q, chosen: a, rejected: b, scores: [x, y]}}", "which response is better, and so does scores"),
    ("{columns: {responses: [a, b], system: s, history: h, ranks: r}}", "history needs a prompt; name its column"),
    ("{columns: {prompt: q, response: a, messages: m}}", "messages hold the prompt themselves; leave `prompt` out"),
    ("{columns: {prompt: q, annotator: w}}", "annotator compares responses; name their columns as `responses`"),
    ("{columns: {prompt: q}}", "format.columns gives no preferences; name a column as `responses`, with a `label`"),
    ("{columns: {}}", "no column holds a prompt; name one as `prompt`"),
    ("{columns: {prompt: true}}", "columns.prompt.0': must be text, which quotation marks make of anything (now true)"),
]


def load(text: str, folder: Path, **extra: str) -> FileSource:
    path = folder / "config.yaml"
    more = "".join(f"\n      {name}: {value}" for name, value in extra.items())
    path.write_text(
        f"project: toy\ndata:\n  kind: files\n  preferences:\n    - path: a.csv\n      format: {text}{more}\n"
    )
    data = load_ingest_config(path).data
    assert isinstance(data, FileData)
    return data.preferences[0]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_a_mistake_is_named_by_field_and_mend(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load(text, tmp_path)
    assert expected in str(refused.value) and "field 'data.preferences" in str(refused.value)


def test_labels_are_read_as_yaml_and_as_files_write_them(tmp_path: Path) -> None:
    labels = "{yes: first, no: second, 3: tie, ' Both Bad ': skip, '': tie}"
    source = load(f"{{columns: {{{PAIR}, label: p}}, labels: {labels}}}", tmp_path)
    assert isinstance(source.format, ColumnFormat)
    first, second, tie, skip = (Meaning.model_validate({"says": s}) for s in ("first", "second", "tie", "skip"))
    yes, no = dict.fromkeys(("true", "yes", "on"), first), dict.fromkeys(("false", "no", "off"), second)
    assert source.format.labels == {**yes, **no, "3": tie, "both bad": skip, "": tie}


def test_one_row_for_each_annotator_is_votes(tmp_path: Path) -> None:
    text = f"{{columns: {{{PAIR}, label: p, annotator: w}}, {LABELS}}}"
    source = load(text, tmp_path)
    assert source.repeats == "votes"
    assert FileSource.model_validate(source.model_dump(mode="json")) == source
    assert load(f"{{columns: {{{PAIR}, label: p}}, {LABELS}}}", tmp_path).repeats == "copies"
    with pytest.raises(InputError, match=r"has several people label one pair; write `repeats: votes`"):
        load(text, tmp_path, repeats="copies")


def test_the_mapping_is_part_of_what_decides_the_data(tmp_path: Path) -> None:
    def key(labels: str) -> str:
        data = FileData(preferences=(load(f"{{columns: {{{PAIR}, label: p}}, {labels}}}", tmp_path),))
        return content_key("ingest", IngestPlan(data=data, contract=ContractConfig(), shares=Shares()), {}, 0)

    swapped = key("labels: {A: second, B: first}")
    assert key(LABELS) != swapped and key("labels: {B: second, A: first}") == key(LABELS)


def test_a_mapping_gives_what_its_columns_hold() -> None:
    assert ColumnFormat.model_validate({"columns": {"messages": "m"}}).columns.kinds == ("demonstrations", "prompts")
    with pytest.raises(ValidationError, match=r"format\.columns gives no demonstrations; name a column as `response`"):
        FileData.model_validate({"demonstrations": [{"path": "a", "format": {"columns": {"prompt": "q"}}}]})
