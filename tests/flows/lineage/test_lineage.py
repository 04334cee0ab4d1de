"""Where versions came from, what they went into, and whether that holds: ladders of toys on a real registry."""

import json
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from data_contracts.records import CONTRACT_VERSION
from flows.cli import app
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.lineage.page import Servers, as_html
from flows.lineage.retention import Retention, Waste
from flows.lineage.story import Story, as_json, facts, tell
from flows.registry.dataset_uploads import DIGEST_FILE
from flows.registry.provenance import commit_tags, hardware, spent
from flows.storage.locks import exclusive
from tests.conftest import ROOT
from tests.flows.toys import Ladder, Toys


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(autouse=True)
def registry_of_the_module(shelf: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage != shelf  # the test's own storage is set first, and replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shelf / 'mlflow.db'}")


@pytest.fixture(scope="module")
def ladders() -> list[Ladder]:
    return []


@pytest.fixture
def first(ladders: list[Ladder], shelf: Path) -> Ladder:
    """The first of two ladders of the project `toy`, which share nothing; its policy is the champion."""
    if not ladders:
        toys = Toys("toy", shelf, price=3.0)
        ladders += [toys.ladder("first"), toys.ladder("second")]
        toys.crown(ladders[0].policy)
        toys.judge(ladders[0].policy)
    return ladders[0]


@pytest.fixture
def archive(first: Ladder) -> Archive:
    return Archive(MlflowClient())


@pytest.fixture
def story(archive: Archive) -> Story:
    return tell(archive, "models:/toy-policy@champion")


def typed(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


# What is told


def test_a_story_holds_the_whole_ancestry_and_nothing_else(story: Story, first: Ladder) -> None:
    models = (first.base, first.sft, first.reward_model, first.judge, first.policy)
    tables = (first.demonstrations, first.preferences, first.prompts)
    assert set(story.graph.versions) == {ref.label for ref in models}
    assert set(story.graph.nodes) == {ref.label for ref in models} | {f"dataset:{ref.digest}" for ref in tables}
    assert set(story.snapshots) == {ref.digest for ref in tables}
    assert story.graph.missing == []


def test_the_tree_names_what_an_auditor_asks_for(first: Ladder) -> None:
    told = typed("lineage", "models:/toy-policy@champion")
    assert told.startswith("toy-policy/1 @champion gates failed\n")
    assert "gates pass: kl-budget; abstain: judge-gain" in told
    assert told.count("reward-model: toy-reward-model/1") == 1 and "temperature 1.250" in told
    assert told.count("base: toy-base/1") == 1  # told once
    assert told.count("sft: toy-sft/1 see above") == 2
    digest = first.demonstrations.digest[:12]
    aside = "1 of 3 records quarantined (too_odd 1)"
    assert f"training: demonstrations {digest}, contract {CONTRACT_VERSION}, 2 rows, {aside}" in told
    assert f"centring: demonstrations {digest}, contract {CONTRACT_VERSION}, 2 rows, {aside}" in told
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"commit {commit.strip()}" in told
    for expected in (
        r"torch 2\.",
        r"mlflow 3\.",
        r"\d+ cores, [\d.]+ GiB",
        r"\d s, cost 0\.00\d\d",
        "Prefect flow run ",
    ):
        assert re.search(expected, told), expected
    assert told.count("packages python") == 1 and told.count("as of toy-policy/1") == 4


COMMIT, DIGEST = "a" * 40, "b" * 64


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base.kind": "embedded", "base.width": "32"}, None),
        ({"base.model": "a/b", "base.revision": COMMIT, "base.commit": "None"}, f"a/b at {COMMIT}"),
        ({"base.model": "a/b", "base.revision": "main", "base.commit": COMMIT}, f"a/b at main, which was {COMMIT}"),
        ({"base.path": "/models/a", "base.digest": DIGEST}, f"/models/a, content {DIGEST}"),
        ({"base.path": "/m", "base.file": "a.gguf", "base.digest": DIGEST}, f"/m/a.gguf, content {DIGEST}"),
        ({"judge.from.path": "/models/a", "judge.from.digest": DIGEST}, f"/models/a, content {DIGEST}"),
        ({"policy.from.path": "/models/a", "policy.from.digest": DIGEST}, f"/models/a, content {DIGEST}"),
        ({"reward-model.from": "models:/a/3"}, None),
    ],
)
def test_where_a_model_was_taken_from_is_told(story: Story, settings: dict[str, str], told: str | None) -> None:
    training = story.training(story.root)
    assert training is not None
    known = dict(facts(story.root, training.model_copy(update={"settings": settings})))
    assert known.get("taken from") == told


def test_name_and_licence_of_a_model_card_are_told(story: Story) -> None:
    version = story.root.model_copy(update={"card": "A speaker", "licence": "apache-2.0"})
    assert dict(facts(version, None))["model card"] == "A speaker, licence apache-2.0"
    assert "model card" not in dict(facts(story.root, None))


def test_that_a_policy_was_imported_is_told(story: Story) -> None:
    version = story.root.model_copy(update={"trained_by": "verl 0.6"})
    said = "imported, trained by verl 0.6"
    assert dict(facts(version, None))["origin"].startswith(f"{said}; its training data are unknown")
    known = version.model_copy(update={"parents": {"taken": "other-policy/1"}})
    assert dict(facts(known, None))["origin"] == said
    assert "origin" not in dict(facts(story.root, None))


def test_json_has_every_node_and_edge(story: Story, first: Ladder) -> None:
    told = json.loads(as_json(story))
    assert told["model"] == first.policy.label and told["missing"] == []
    edges = {(edge["from"], edge["to"], edge["role"]) for edge in told["edges"]}
    assert (first.reward_model.label, first.policy.label, "reward-model") in edges
    assert (f"dataset:{first.preferences.digest}", first.judge.label, "training") in edges
    assert len(edges) == 12
    made = told["versions"][first.sft.label]["training"]
    assert made["settings"] == {"sft.text": "first", "seed": "1"} and made["cost"] is not None
    assert made["uses"]["training"]["counts"]["by_rule"] == {"too_odd": 1}
    assert json.loads(typed("lineage", "toy-policy/1", "--json")) == told


class Links(HTMLParser):
    """Addresses that a page links to, and those that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.links += [found["href"]] if tag == "a" else []
        self.anchors |= {found["id"]} if "id" in found else set()
        self.loads += [tag] if tag in ("script", "link", "img", "iframe") or "src" in found else []


def test_the_page_links_every_node_and_loads_nothing(story: Story, first: Ladder, tmp_path: Path) -> None:
    page = Links(as_html(story, Servers("http://mlflow", "http://prefect")))
    assert page.loads == []
    for ref in (first.base, first.sft, first.reward_model, first.judge, first.policy):
        assert f"http://mlflow/#/models/{ref.name}/versions/{ref.version}" in page.links
        experiment = MlflowClient().get_run(ref.run_id).info.experiment_id
        assert f"http://mlflow/#/experiments/{experiment}/runs/{ref.run_id}" in page.links
    assert sum(link.endswith(tuple(kept.run_id for kept in story.snapshots.values())) for link in page.links) == 6
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert len(inside) == 8 and inside <= page.anchors
    typed("lineage", "toy-policy/1", "--html", tmp_path / "page.html")
    assert "toy-reward-model/1" in (tmp_path / "page.html").read_text()


def test_names_on_the_page_are_text(story: Story) -> None:
    evil = story.root.model_copy(update={"description": "<script>alert(1)</script>"})
    page = as_html(story._replace(root=evil, graph=type(story.graph)([evil])), Servers("http://m", "http://p"))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_what_is_not_there_is_named(archive: Archive) -> None:
    for model, said in (
        ("toy-policy/9", "error: toy-policy/9 is not in the registry; the newest version of toy-policy is "),
        ("toy-policy@best", "error: toy-policy has no alias 'best'; it has champion"),
        ("toy-policy", "error: toy-policy names no version; write name/version or name@alias"),
    ):
        for command in ("lineage", "impact", "audit"):
            done = CliRunner().invoke(app, [command, model])
            is_data = command == "impact" and not {"/", "@"} & {*model}  # where a name alone may be one of data
            named = "error: toy-policy: no source, annotator or group of the data is called so" if is_data else said
            assert done.exit_code == 2 and done.stderr.startswith(named)


# What it went into


def test_impact_lists_all_that_a_dataset_went_into_and_no_other(first: Ladder, ladders: list[Ladder]) -> None:
    told = typed("impact", f"dataset:{first.preferences.digest[:10]}")
    head, _, *rows = (line for line in told.splitlines() if line.strip())
    assert head == (
        f"preferences dataset:{first.preferences.digest} went into 3 of 10 versions, 1 of which hold an alias"
    )
    listed = [row.split()[0] for row in rows if row.startswith("toy-")]
    assert listed[0] == first.policy.label and "toy-reward-model/1" in rows[1] + rows[2] + rows[0]
    assert set(listed) == {first.policy.label, first.reward_model.label, first.judge.label}
    assert ladders[1].policy.label not in told


def test_impact_of_a_version_says_by_way_of_what(first: Ladder) -> None:
    told = typed("impact", first.base.label)
    assert "went into 4 of 10 versions, 1 of which hold an alias" in told
    (policy,) = (line for line in told.splitlines() if line.startswith(first.policy.label))
    assert "champion" in policy and "toy-sft/1" in policy
    assert "went into 0 of 10 versions" in typed("impact", "toy-policy@champion")


# Whether it holds


def failing(archive: Archive) -> list[AuditFinding]:
    return [finding for finding in audit(archive, [archive.find("toy-policy@champion")]) if finding.status in DOUBTS]


def test_an_untouched_ladder_holds(archive: Archive) -> None:
    findings = audit(archive, archive.everything().versions.values())
    assert {finding.status for finding in findings} == {"holds", "not recomputable"}
    looked_at = [finding.what for finding in findings]
    assert [looked_at.count(what) for what in ("files", "key", "snapshot")] == [10, 10, 6], "of both ladders"
    holding = sum(finding.status == "holds" for finding in findings)
    proved = 2  # the log, and what MLflow holds
    counted = f"{holding + proved} holds, 0 missing, 0 altered, 0 differs, 0 unsigned, 0 out of order, "
    assert typed("audit", "--deep").rstrip().endswith(f"{counted}{len(findings) - holding} not recomputable")
    assert f"{proved} holds, 0 missing" in typed("audit")


def location(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def model_file(first: Ladder) -> Path:
    return location(MlflowClient().get_logged_model(first.sft.model_id).artifact_location) / "weights"


def snapshot_file(story: Story, first: Ladder) -> Path:
    kept = story.snapshots[first.preferences.digest]
    return location(MlflowClient().get_run(kept.run_id).info.artifact_uri) / f"{first.preferences.digest}.parquet"


def run_file(first: Ladder, path: str) -> Path:
    return location(MlflowClient().get_run(first.reward_model.run_id).info.artifact_uri) / path


@pytest.fixture
def mended() -> Iterator[list[tuple[Path, bytes]]]:
    """Files to put back as they were after the test."""
    files: list[tuple[Path, bytes]] = []
    yield files
    for path, content in files:
        path.chmod(0o644) if path.exists() else None
        path.write_bytes(content)


@pytest.mark.parametrize("damage", ["altered", "deleted"])
@pytest.mark.parametrize("target", ["model", "snapshot", "identity", "report"])
def test_damage_is_named(
    archive: Archive, story: Story, first: Ladder, mended: list[tuple[Path, bytes]], target: str, damage: str
) -> None:
    path = {
        "model": model_file(first),
        "snapshot": snapshot_file(story, first),
        "identity": run_file(first, "identity.json"),
        "report": run_file(first, "data/preferences/counts.json"),
    }[target]
    content = path.read_bytes()
    mended.append((path, content))
    path.chmod(0o644)
    if damage == "deleted":
        path.unlink()
    else:
        altered = b'"written": 2' if target == "report" else b"first"
        offset = content.index(altered) + len(altered) - 1
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
    (found,) = failing(archive)
    status = "missing" if damage == "deleted" else "altered"
    digest = first.preferences.digest
    of, what, detail = {
        "model": (first.sft.label, "files", "weights"),
        "snapshot": (f"preferences {digest[:12]}", "snapshot", f"{digest}.parquet"),
        "identity": (first.reward_model.label, "key", ""),
        "report": (first.reward_model.label, "data training", "report on preferences"),
    }[target]
    assert (found.of, found.what, found.status) == (of, what, status) and detail in found.detail
    done = CliRunner().invoke(app, ["audit", "toy-policy@champion", "--deep"])
    assert done.exit_code == 1 and found.detail in done.stdout


def test_tags_that_were_changed_are_named(archive: Archive, first: Ladder) -> None:
    client, ref = MlflowClient(), first.reward_model
    forged = {
        "parent.sft": "toy-sft/2",
        "dataset.training": f"preferences:{'0' * 64}",
        "rlhf.code": "other",
        "rlhf.digest": "0" * 64,
    }
    was = client.get_model_version(ref.name, ref.version).tags
    for tag, value in forged.items():
        client.set_model_version_tag(ref.name, ref.version, tag, value)
    found = {finding[:2] for finding in failing(archive) if finding.status == "altered"}
    for tag in forged:
        client.set_model_version_tag(ref.name, ref.version, tag, was[tag])
    of_it = {(ref.label, what) for what in ("parent sft", "data training", "key", "files")}
    assert found == of_it | {(first.policy.label, "parent reward-model")}


def test_a_deleted_parent_is_missing(shelf: Path, archive: Archive) -> None:
    toys = Toys("orphans", shelf)
    base = toys.stage("base", "a")
    sft = toys.stage("sft", "a", {"base": base})
    toys.registry.client.delete_model_version(base.name, base.version)
    missing = [finding for finding in audit(archive, [archive.find(sft.label)]) if finding.status in DOUBTS]
    assert missing == [AuditFinding("orphans-sft/1", "parent base", "missing", "orphans-base/1 is not in the registry")]
    assert "base: orphans-base/1 is not in the registry" in typed("lineage", sft.label)


# What may go


class Shop:
    """Two ladders of one project in a storage of their own; the alias `champion` is on the policy of the second."""

    def __init__(self, storage: Path) -> None:
        storage.mkdir()
        toys = Toys("shop", storage)
        self.old, self.live = toys.ladder("old"), toys.ladder("live")
        toys.registry.set_alias(self.live.policy, "champion")
        toys.registry.end_run(toys.context.run_id, "FINISHED")
        self.toys, self.storage = toys, storage
        self.retention = Retention(toys.registry.client, "shop", storage)

    def find(self) -> list[Waste]:
        return self.retention.find(keep_days=0.0)

    def names(self) -> set[str]:
        return {waste.name for waste in self.find()}


@pytest.fixture(scope="module")
def shops() -> list[Shop]:
    return []


@pytest.fixture
def shop(shops: list[Shop], shelf: Path) -> Shop:
    if not shops:
        shops.append(Shop(shelf / "shop"))
    return shops[0]


def test_only_what_is_old_goes(shop: Shop) -> None:
    assert shop.retention.find(keep_days=1.0) == [] != shop.find()


def test_only_what_the_live_alias_does_not_need_goes(shop: Shop) -> None:
    found, tables = shop.find(), {ref.digest for ref in shop.old[5:]}
    versions = [waste.name for waste in found if waste.kind == "version"]
    assert versions[0] == shop.old.policy.label and set(versions) == {ref.label for ref in shop.old[:5]}
    assert {waste.name for waste in found if waste.kind == "snapshot"} == tables
    assert {Path(waste.name).stem for waste in found if waste.kind == "local snapshot"} == tables
    assert [Path(waste.name).name for waste in found if waste.kind == "ingestion report"] == ["old"]
    assert len(found) == 12 and all(waste.size > 0 for waste in found)


def test_a_version_that_got_an_alias_meanwhile_stays(shop: Shop) -> None:
    found = shop.find()
    shop.toys.registry.set_alias(shop.old.policy, "challenger")
    assert shop.find() == []
    shop.retention.remove(found[0])
    assert shop.toys.registry.intact(shop.old.policy)
    shop.toys.registry.client.delete_registered_model_alias(shop.old.policy.name, "challenger")


def test_what_a_running_climb_stands_on_stays(shop: Shop) -> None:
    registry, old = shop.toys.registry, shop.old
    climb = registry.start_run("ladder", tags={"stage.sft": old.sft.label})
    registry.log_datasets(climb, {"prompts": old.prompts})
    used = {old.sft.label, old.base.label, old.demonstrations.digest, old.prompts.digest}
    assert not used & shop.names() and {old.policy.label, old.preferences.digest} <= shop.names()
    registry.end_run(climb, "FINISHED")
    assert used <= shop.names()


def test_work_goes_unless_somebody_works(shop: Shop) -> None:
    left, lock = shop.storage / "work" / "sft-1.states", shop.storage / "work" / "policy-2.lock"
    left.mkdir(parents=True)
    (left / "state").write_bytes(b"12345")
    with exclusive(lock):
        assert "work" not in {waste.kind for waste in shop.find()}
    (found,) = (waste for waste in shop.find() if waste.kind == "work")
    assert (found.name, found.size) == (str(left), 5)
    with exclusive(lock):
        shop.retention.remove(found)
    assert left.exists()
    shop.retention.remove(found)
    assert not left.exists()


def test_reports_of_ingestions_stay_while_a_climb_can_reuse_them(shop: Shop) -> None:
    needed, gone = shop.live.preferences.digest, shop.old.prompts.digest
    for key, digests in {"reusable": [needed], "half": [needed, gone], "unknown": []}.items():
        for kind, digest in zip(("preferences", "prompts"), digests, strict=False):
            (shop.storage / "ingests" / key / kind).mkdir(parents=True)
            (shop.storage / "ingests" / key / kind / DIGEST_FILE).write_text(digest)
        (shop.storage / "ingests" / key).mkdir(exist_ok=True)
    found = {Path(waste.name).name: waste for waste in shop.find() if waste.kind == "ingestion report"}
    assert found.keys() == {"old", "half", "unknown"}
    shop.retention.remove(found["half"])
    shop.retention.remove(found["unknown"])
    assert {path.name for path in (shop.storage / "ingests").iterdir()} == {"live", "old", "reusable"}


def test_kept_answers_go_unless_somebody_works(shop: Shop) -> None:
    kept = shop.storage / "cache" / "0.1.0+code" / "key"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"123")
    with exclusive(shop.storage / "work" / "policy-2.lock"):
        assert "cache" not in {waste.kind for waste in shop.find()}
    (found,) = (waste for waste in shop.find() if waste.kind == "cache")
    assert (found.name, found.size) == (str(kept), 3)
    shop.retention.remove(found)
    assert not kept.exists()


def test_prune_says_what_would_go_and_removes_it_only_when_told(shop: Shop, first: Ladder) -> None:
    settings = ("-c", "configs/tiny.yaml", "--set", "project=shop", "--set", f"storage={shop.storage}")
    said = typed("prune", *settings, "--keep-days", "0")
    assert "12 things, " in said and "would go; nothing was removed, --yes removes it" in said
    assert shop.toys.registry.intact(shop.old.policy)
    neighbour = Toys("neighbour", shop.storage)  # whose models need a table that the shop no longer does
    neighbour.stage("sft", "neighbour", {}, {"training": shop.old.demonstrations})
    assert "10 things, " in typed("prune", *settings, "--keep-days", "0", "--yes")
    assert typed("prune", *settings, "--keep-days", "0") == "nothing to remove\n"
    archive = Archive(MlflowClient())
    assert not any(item.status in DOUBTS for item in audit(archive, [archive.find(shop.live.policy.label)]))
    labels = set(archive.everything().versions)
    assert not labels & {ref.label for ref in shop.old[:5]} and labels >= {ref.label for ref in first[:5]}
    kept = {path.stem for path in shop.storage.glob("snapshots/*/*.parquet")}
    assert kept == {ref.digest for ref in (*shop.live[5:], shop.old.demonstrations)}
    weights = [path.read_text() for path in shop.storage.glob("artifacts/models/*/artifacts/weights")]
    assert sorted(weights) == ["live"] * 5 + ["neighbour"]


# What is recorded


def test_a_commit_is_recorded_only_of_a_checkout_that_tracks_the_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("1")
    assert commit_tags(code) == {}
    git("init")
    assert commit_tags(code) == {}  # as in an environment that lies inside of somebody's checkout
    git("add", ".")
    git("commit", "-m", "one")
    recorded = {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "mlflow.source.git.dirty": "false"}
    assert commit_tags(code) == recorded
    code.write_text("2")
    assert commit_tags(code) == recorded | {"mlflow.source.git.dirty": "true"}


def test_a_cost_is_never_invented() -> None:
    assert spent(1800.0, 3.0) == {"rlhf.seconds": "1800.0", "rlhf.cost": "1.5000"}
    assert spent(1800.0, None) == {"rlhf.seconds": "1800.0"}


def test_the_machine_is_described() -> None:
    machine = hardware()
    assert machine["processor"] and machine["cores"] >= 1 and machine["memory_gib"] > 0.1
