"""Lineage events of real runs on a real registry: held against the specification, received, and not received."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from flows.config.errors import InputError
from flows.config.ladder import IngestConfig
from flows.config.lineage import LineageConfig, OpenLineageConfig, told_at
from flows.config.loading import load_config
from flows.data.ingest import ingest_alone
from flows.pipeline.gating import Judgement, mark_versions
from flows.pipeline.reuse import recall
from flows.promotion.outbox import Outbox
from flows.promotion.promote import promote, propose, roll_back
from flows.promotion.reconcile import detect
from flows.registry.lineage_events import KEY
from flows.registry.references import ModelRef
from rlhf_core.gates.gate import Verdict
from tests.conftest import TINY
from tests.flows.toys import Toys

SPECIFICATION = "https://openlineage.io/spec/2-0-2/OpenLineage.json"

Event = dict[str, Any]

PASSED = Verdict(
    gate="kl-budget",
    status="pass",
    metric="kl",
    direction="below",
    threshold=10,
    value=1.0,
    lower=0.5,
    upper=1.5,
    n=100,
    explanation="kl: upper bound 1.5 is below 10 (n=100)",
)
ABSTAINED = PASSED.model_copy(update={"gate": "ends", "status": "abstain", "value": None, "explanation": "ends: n=3"})


@pytest.fixture(scope="module")
def schemas() -> Registry[Any]:
    files = Path(__file__).with_name("openlineage").glob("*.json")
    documents = [json.loads(path.read_text()) for path in files]
    return Registry().with_resources((document["$id"], Resource.from_contents(document)) for document in documents)


def by_specification(event: Event, schemas: Registry[Any]) -> list[str]:
    """What is wrong with an event and each of its facets, by the schemas that they name."""
    datasets = [*event["inputs"], *event["outputs"]]
    named = [each.get(key, {}) for each in datasets for key in ("facets", "inputFacets", "outputFacets")]
    facets = [facet for group in (event["run"]["facets"], event["job"]["facets"], *named) for facet in group.values()]
    parts = [(event, event["schemaURL"]), *((facet, facet["_schemaURL"]) for facet in facets)]
    return [
        f"{address}: {error.message}"
        for part, address in parts
        for error in Draft202012Validator({"$ref": address}, registry=schemas).iter_errors(part)
    ]


def test_the_schemas_refuse_what_is_no_event(schemas: Registry[Any]) -> None:
    event = {"schemaURL": f"{SPECIFICATION}#/$defs/RunEvent", "inputs": [], "outputs": [], "run": {"facets": {}}}
    assert by_specification({**event, "job": {"facets": {}}}, schemas)


class Marquez(ThreadingHTTPServer):
    """Takes events at the address at which Marquez does, and answers as it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.keys: list[str | None] = []
        self.answer = 201
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/api/v1/lineage":
                    receiver.events.append(json.loads(body))
                    receiver.keys.append(self.headers["Authorization"])
                self.send_response(receiver.answer if self.path == "/api/v1/lineage" else 404)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def marquez() -> Iterator[Marquez]:
    server = Marquez()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def telling(project: str, storage: Path, told: OpenLineageConfig) -> Toys:
    toys = Toys(project, storage)
    toys.context = toys.context.model_copy(update={"lineage": LineageConfig(openlineage=told)})
    return toys


def judged(toys: Toys, ref: ModelRef, *verdicts: Verdict) -> None:
    record = recall(ref, toys.registry)
    blocking = [verdict for verdict in verdicts if verdict.status != "pass"]
    mark_versions.fn(record, Judgement(list(verdicts), blocking), toys.context)


def read(file: Path) -> list[Event]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def of_job(events: list[Event], job: str) -> list[Event]:
    return [event for event in events if event["job"]["name"] == job]


def names(datasets: list[Event]) -> set[tuple[str, str]]:
    return {(each["name"], each["facets"]["version"]["datasetVersion"]) for each in datasets}


def test_a_ladder_tells_a_server_what_was_made_from_what(
    marquez: Marquez, storage: Path, schemas: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "k3y-of-the-server")
    toys = telling("served", storage, OpenLineageConfig(url=marquez.url))
    ladder = toys.ladder("first")
    judged(toys, ladder.policy, PASSED)
    promote(toys.registry, propose(toys.registry, ladder.policy.label), by="ann@desk", told=told_at(marquez.url))

    assert [problem for event in marquez.events for problem in by_specification(event, schemas)] == []
    assert {*marquez.keys} == {"Bearer k3y-of-the-server"}
    start, complete = of_job(marquez.events, "served.policy")
    assert [start["eventType"], complete["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert complete["run"]["runId"].replace("-", "") == ladder.policy.run_id
    assert complete["run"]["facets"]["parent"]["run"]["runId"].replace("-", "") == toys.context.run_id
    assert names(complete["inputs"]) == {
        ("served.prompts", ladder.prompts.digest),
        ("served-sft", "1"),
        ("served-reward-model", "1"),
        ("served-judge", "1"),
    }
    assert names(complete["outputs"]) == {("served-policy", "1")}
    digests = {tag["key"]: tag["value"] for tag in complete["outputs"][0]["facets"]["tags"]["tags"]}
    assert digests == {"digest": ladder.policy.digest}
    [gates] = of_job(marquez.events, "served.gates.policy")
    [assertion] = gates["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (assertion["assertion"], assertion["success"], assertion["expected"]) == ("kl-budget", True, "kl below 10")
    [promotion] = of_job(marquez.events, "served.promotion")
    assert names(promotion["outputs"]) == {("served-policy@champion", "1")}


def test_a_gate_that_abstains_has_not_succeeded(storage: Path, tmp_path: Path) -> None:
    toys = telling("gated", storage, OpenLineageConfig(file=tmp_path / "events"))
    judged(toys, toys.stage("sft", "first"), PASSED, ABSTAINED)
    [event] = of_job(read(tmp_path / "events"), "gated.gates.sft")
    assertions = event["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [item["success"] for item in assertions] == [True, False]
    assert assertions[1]["description"] == "abstain: ends: n=3"


def test_a_gate_that_no_longer_judges_a_version_neither_passes_nor_fails_it(storage: Path) -> None:
    toys = Toys("again", storage)
    ref = toys.stage("sft", "first")
    judged(toys, ref, PASSED, ABSTAINED)
    judged(toys, ref, PASSED)
    tags = toys.registry.client.get_model_version(ref.name, ref.version).tags
    assert {name: tags[f"gate.{name}"] for name in (PASSED.gate, ABSTAINED.gate, "status")} == {
        PASSED.gate: "pass",
        ABSTAINED.gate: "left out",
        "status": "passed",
    }


def test_an_ingestion_tells_a_file_of_raw_files_and_tables(
    storage: Path, tmp_path: Path, schemas: Registry[Any]
) -> None:
    raw, told = tmp_path / "pairs.jsonl", tmp_path / "events.jsonl"
    rows = [{"prompt": f"question {row}", "chosen": f"yes {row}", "rejected": f"no {row}"} for row in range(40)]
    raw.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = IngestConfig.model_validate(
        {
            "project": "told",
            "storage": storage,
            "data": {"kind": "files", "preferences": [{"path": str(raw)}]},
            "lineage": {"openlineage": {"file": told, "namespace": "team"}},
        }
    )
    [table] = ingest_alone(config).tables
    events = read(told)
    assert [problem for event in events for problem in by_specification(event, schemas)] == []
    assert [(event["eventType"], event["job"]["name"]) for event in events] == [
        ("START", "told.ingest"),
        ("COMPLETE", "told.ingest"),
    ]
    [source], [made] = events[1]["inputs"], events[1]["outputs"]
    assert (source["namespace"], source["name"]) == ("file", str(raw))
    assert (made["namespace"], made["name"]) == ("team", "told.preferences")
    assert made["facets"]["version"]["datasetVersion"] == table.digest
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 40
    assert "question" not in told.read_text()

    ingest_alone(config)
    assert len(read(told)) == 2, "what is only found again is no run"

    raw.write_text('{"prompt": "a", "chosen": "b"}\n')
    with pytest.raises(InputError):
        ingest_alone(config)
    assert read(told)[-1]["eventType"] == "FAIL"


def test_roll_backs_and_promotions_in_mlflow_are_told(storage: Path, tmp_path: Path) -> None:
    told = OpenLineageConfig(file=tmp_path / "events")
    toys = Toys("moved", storage)
    first, second = (toys.stage("sft", text) for text in ("first", "second"))
    for ref in (first, second):
        toys.registry.tag_versions([ref], {"gate.status": "passed"})
        promote(toys.registry, propose(toys.registry, ref.label), by="ann@desk", told=told)
    roll_back(toys.registry, first, past=second, by="bob@desk", told=told)
    toys.registry.set_alias(second, "champion")
    outbox = Outbox(storage / "ledger.db")
    detect(toys.registry.client, outbox, storage, told)
    events = read(tmp_path / "events")
    by = [
        next(tag["value"] for tag in event["run"]["facets"]["tags"]["tags"] if tag["key"] == "by") for event in events
    ]
    assert by == ["ann@desk", "ann@desk", "bob@desk", "unknown"]
    assert [names(event["outputs"]) for event in events] == [{("moved-sft@champion", n)} for n in "1212"]


@pytest.mark.parametrize("answer", [None, 500], ids=["nobody answers", "the server fails"])
def test_what_cannot_be_told_is_one_line_and_stops_nothing(
    answer: int | None, marquez: Marquez, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{marquez.url}/" if answer else "http://127.0.0.1:9"
    marquez.answer = answer or 201
    told = OpenLineageConfig(url=url, namespace=f"refused {answer}")
    assert telling("alone", storage, told).stage("base", "first").version == "1"
    warnings = [line for line in capsys.readouterr().out.splitlines() if "openlineage" in line]
    reason = f"it answers {answer}" if answer else "ConnectionError"
    assert warnings == [f"warning: lineage.openlineage: {url} does not take events ({reason}); all goes on without"]
    assert len(marquez.events) == (2 if answer else 0), "each event gets one try"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("{}", "name either `file` or `url`"),
        ("{file: a, url: 'http://b'}", "name either `file` or `url`"),
        ("{url: marquez}", "is no address; write one that begins with http:// or https://"),
        ("{url: 'http://ann:secret-word@marquez'}", "holds a name; leave it out"),
    ],
)
def test_a_place_that_is_none_is_refused(place: str, reason: str) -> None:
    with pytest.raises(InputError, match=r"lineage\.openlineage") as refusal:
        load_config(TINY, overrides=[f"lineage.openlineage={place}"])
    assert reason in str(refusal.value)
    assert "secret-word" not in str(refusal.value)


def test_no_result_depends_on_who_is_told(tmp_path: Path) -> None:
    assert load_config(TINY).lineage.openlineage is None
    with pytest.raises(InputError, match="--openlineage ftp"):
        told_at("ftp://marquez")
