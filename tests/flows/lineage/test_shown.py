"""What MLflow's page of evaluations shows of rows, and rows whose texts are digests."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.config.evidence import EvidenceConfig
from flows.lineage.evidence import readable
from flows.lineage.shown import difference, table_as_shown
from flows.stages.evidence import write_evidence


def test_tables_that_are_shown_are_rows_of_the_file() -> None:
    rows = pa.table(
        {"prompt": ["a", "b"], "score": [0.1, None], "by_member": [[1.0], [2.0]], "finished": [True, False]}
    )
    whole = table_as_shown(rows)
    assert difference(whole, whole) == "" and whole["data"][1] == ["b", None, [2.0], False]
    rounded = {**whole, "data": [["a", 0.1 + 1e-12, [1.0], True], whole["data"][1]]}
    assert difference(whole, rounded) == ""
    for row in (["a", 0.2, [1.0], True], ["c", 0.1, [1.0], True], ["a", 0.1, [3.0], True], ["a", 0.1, [1.0], 1.5], 7):
        assert difference(whole, {**whole, "data": [row, whole["data"][1]]}).startswith("row 1 of ")
    assert "shows 1 rows" in difference(whole, {**whole, "data": whole["data"][:1]})
    assert "no table" in difference(whole, ["x"]) and "no table" in difference(whole, {"columns": 3})


def test_prompts_of_hashed_rows_stand_in_the_order_of_their_texts(tmp_path: Path) -> None:
    prompts = ["pear", "apple", "pear", "fig"]
    paths = write_evidence({"pairs": pa.table({"prompt": prompts})}, EvidenceConfig(texts="hashed"), tmp_path)
    hashed = pq.read_table(paths[0])
    rows, without_texts = readable({"pairs": hashed})
    assert rows is not None and without_texts
    ranked = rows["pairs"]["prompt"].to_pylist()
    assert sorted(range(4), key=lambda row: ranked[row]) == [1, 3, 0, 2] and ranked[0] == ranked[2]
    assert readable({"pairs": hashed.drop_columns(["prompt_number"])}) == (None, True)
    assert readable({"pairs": pa.table({"prompt": prompts})})[1] is False
