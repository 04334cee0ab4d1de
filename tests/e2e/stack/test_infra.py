"""Files for containers and clusters: what the clients and the published schemas say of them, without an engine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from prefect.utilities.templating import apply_values

from tests.e2e.stack.conftest import ROOT

INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose.yaml"
CLUSTER = INFRA / "kubernetes"
KUBERNETES = "1.31"
STAGES = sorted((CLUSTER / "jobs").glob("rlhf-*.json"))
PASSWORDS = ("POSTGRES_PASSWORD", "PREFECT_PASSWORD", "MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY", "S3_SECRET_KEY")


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def docker_compose() -> list[str] | None:
    """The command of whichever Compose there is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def manifests(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def containers(resource: dict[str, Any]) -> list[dict[str, Any]]:
    pod = resource["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def job(variables: dict[str, Any]) -> dict[str, Any]:
    """The job that Prefect makes of the work pool's template with these variables."""
    base = json.loads((CLUSTER / "jobs" / "base.json").read_text())
    known = base["variables"]["properties"]
    given = {"name": "run", "command": ["prefect", "flow-run", "execute"], "env": {}, "labels": {}}
    defaults = {name: each["default"] for name, each in known.items() if "default" in each}
    return dict(apply_values(base["job_configuration"]["job_manifest"], {**defaults, **given, **variables}))


def test_compose_follows_the_specification(tmp_path: Path) -> None:
    done = check_compose(COMPOSE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("    healthcheck:", "    healthchecks:", 1))
    assert check_compose(wrong).returncode == 1


def test_compose_is_read_by_its_client(tmp_path: Path) -> None:
    command = docker_compose()
    if command is None:
        pytest.skip("there is no Docker Compose here; only the schema was checked")
    passwords = tmp_path / "env"
    passwords.write_text("".join(f"{name}=x\n" for name in (*PASSWORDS, "WEBHOOK_KEY")))
    done = subprocess.run([*command, "--env-file", passwords, "-f", COMPOSE, "config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_service_is_pinned_hardened_and_tells_its_health() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert {"postgres", "artifacts", "prefect", "mlflow", "worker", "receiver"} <= set(services)
    for name, service in services.items():
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"]), name
        assert service["user"] in ("postgres", "1000:1000") and service["cap_drop"] == ["ALL"], name
        assert name in ("bucket", "ladder") or service["healthcheck"]["test"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    outside = {name for name, service in services.items() if "clients" in service["networks"]}
    assert outside == {"prefect", "mlflow", "worker", "receiver", "ladder"}


def test_no_password_has_a_default() -> None:
    text = COMPOSE.read_text()
    assert set(re.findall(r"\$\{(\w+):\?set it in infra/.env\}", text)) == {*PASSWORDS, "WEBHOOK_KEY"}
    assert not re.findall(r"\$\{\w*(?:PASSWORD|KEY)\w*:-", text)


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.yaml")), ids=lambda path: path.stem)
def test_resources_follow_the_schemas_of_kubernetes(path: Path) -> None:
    if path.name == "kustomization.yaml":
        named = yaml.safe_load(path.read_text())["resources"]
        assert {*named, path.name, "multi-node.yaml"} == {each.name for each in CLUSTER.glob("*.yaml")}
        return
    found = manifests(path.read_text())
    for resource in found:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    broken = {**found[-1], "spec": {**found[-1].get("spec", {}), "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_kustomize_builds_the_whole_stack(tmp_path: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl here; only the schemas were checked")
    folder = Path(shutil.copytree(CLUSTER, tmp_path / "kubernetes"))
    (folder / "secrets.env").write_text("".join(f"{name}=x\n" for name in (*PASSWORDS, "WEBHOOK_KEY")))
    (folder / "mlflow-auth.ini").write_text("[mlflow]\n")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = manifests(done.stdout)
    for resource in built:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    secrets = {each["metadata"]["name"]: set(each["data"]) for each in built if each["kind"] == "Secret"}
    for resource in built:
        if resource["kind"] not in ("Deployment", "StatefulSet"):
            continue
        pod = resource["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
        for container in containers(resource):
            assert re.search(r":\d+\.\d+", container["image"]), container["image"]
            asked = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
            assert all(each["key"] in secrets[each["name"]] for each in asked)


def test_there_is_a_job_for_every_flow() -> None:
    assert {path.stem for path in STAGES} >= {"rlhf-ladder", "rlhf-sft", "rlhf-reward-model", "rlhf-policy"}


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_prefect_makes_a_valid_job_of_the_template(path: Path) -> None:
    variables = json.loads(path.read_text())
    schema = json.loads((CLUSTER / "jobs" / "base.json").read_text())["variables"]
    strict = Draft202012Validator({**schema, "additionalProperties": False})
    strict.validate(variables)
    with pytest.raises(ValidationError):
        strict.validate({"gpu": "1"})
    made = job(variables)
    pod = made["spec"]["template"]["spec"]
    for name in ("parallelism", "completions"):  # Prefect's worker wants them here, Kubernetes does not read them
        assert pod.pop(name) == 1
    kubernetes_validate.validate(made, KUBERNETES, strict=True)
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == variables["gpus"]
    assert (variables["gpus"] == "0") == (path.stem == "rlhf-ingest")
    assert "{{" not in json.dumps(made)
