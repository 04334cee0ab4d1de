"""The bill of materials of a version (CycloneDX ML-BOM): models, tables, packages, by digest, and what needs what."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from flows.papers.card import TASKS, WRITES
from flows.papers.dossier import DatasetDossier, Dossier, VersionDossier
from flows.papers.limits import limits
from flows.registry.lookup import DATASET
from flows.registry.model_card import KEY_FIGURES

NAMESPACE = uuid.UUID("6f0d3c1c-55c5-5c5e-9d53-0b6f0c4c5c8e")
"""Serial numbers of bills are made below it of what they say, so that the same bill always has the same."""

MODEL = "model:"
"""Begins the reference of a model within a bill; those of tables begin as their names do everywhere."""

APPROACHES = {"base": "self-supervised", "policy": "reinforcement-learning", "value": "reinforcement-learning"}
"""How CycloneDX calls the training of a stage, where it is not supervised."""


def bill_of_materials(dossier: Dossier) -> dict[str, Any]:
    """The bill as CycloneDX 1.6 has it; the same version always gets the same one."""
    models = {each.version.label: _model(each) for each in dossier.versions}
    tables = {f"{DATASET}{each.use.digest}": _table(each) for each in dossier.datasets}
    packages = list(_packages(dossier))
    subject = models[dossier.subject.version.label]
    created = datetime.fromtimestamp(dossier.subject.version.created, UTC)
    tool = Component(name="rlhf-ladder", version=version("rlhf-ladder"), type=ComponentType.APPLICATION)
    metadata = BomMetaData(component=subject, timestamp=created)
    metadata.tools.components.add(tool)
    others = [model for model in models.values() if model is not subject]
    bill = Bom(components=[*others, *tables.values(), *packages], metadata=metadata)
    for each in dossier.versions:
        needed = [models.get(node) or tables.get(node) for node in each.version.inputs.values()]
        own = packages if each is dossier.subject else []
        bill.register_dependency(models[each.version.label], [*filter(None, needed), *own])
    document: dict[str, Any] = json.loads(JsonV1Dot6(bill).output_as_string())
    document.pop("serialNumber")  # which the library draws
    whole = _with_what_the_library_lacks(document, dossier)
    return {**whole, "serialNumber": uuid.uuid5(NAMESPACE, json.dumps(whole, sort_keys=True)).urn}


def _model(each: VersionDossier) -> Component:
    known = each.version
    facts = {
        "folder-sha256": known.digest,
        "key": known.key,
        "code": known.code,
        "gates": known.gates.get("status", ""),
    }
    return Component(
        name=known.name,
        version=known.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"{MODEL}{known.label}",
        description=next((line for line in known.description.splitlines() if line), None),
        licenses=_licences(known.licence),
        properties=_properties(facts),
        components=[
            Component(
                name=path, type=ComponentType.FILE, bom_ref=f"{MODEL}{known.label}/{path}", hashes=[_hash(digest)]
            )
            for path, digest in each.files.items()
        ],
    )


def _table(each: DatasetDossier) -> Component:
    counts = each.use.counts
    aside = {} if counts is None else {"records": str(counts.records), "quarantined": str(counts.quarantined)}
    facts = {"rows-sha256": each.use.digest, "rows": str(each.use.rows), "contract": each.use.contract, **aside}
    return Component(
        name=each.use.name,
        version=each.use.digest[:12],
        type=ComponentType.DATA,
        bom_ref=f"{DATASET}{each.use.digest}",
        description=f"from {', '.join(each.use.sources) or 'unknown'}",
        licenses=_licences(*(str(source["licence"]) for source in each.sources if source.get("licence"))),
        properties=_properties(facts),
    )


def _packages(dossier: Dossier) -> Iterator[Component]:
    """What it was trained with, as far as the run recorded it."""
    training = dossier.subject.training
    for name, number in ({} if training is None else training.packages).items():
        kind = "generic" if name == "python" else "pypi"
        url = PackageURL(kind, name=name, version=number)
        yield Component(name=name, version=number, type=ComponentType.LIBRARY, purl=url, bom_ref=url.to_string())


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _licences(*names: str) -> list[DisjunctiveLicense]:
    """By name, as people wrote them: not every one is a name of SPDX."""
    return [DisjunctiveLicense(name=name) for name in dict.fromkeys(names) if name]


def _properties(facts: Mapping[str, str]) -> list[Property]:
    return [Property(name=f"rlhf-ladder:{name}", value=value) for name, value in facts.items() if value]


def _with_what_the_library_lacks(document: dict[str, Any], dossier: Dossier) -> dict[str, Any]:
    """Model cards and the kinds of data, which cyclonedx-python-lib 11 does not write."""
    cards = {f"{MODEL}{each.version.label}": _card(each, dossier) for each in dossier.versions}
    parts: Iterable[dict[str, Any]] = [document["metadata"]["component"], *document.get("components", [])]
    for part in parts:
        if part["bom-ref"] in cards:
            part["modelCard"] = cards[part["bom-ref"]]
        elif part["type"] == "data":
            part["data"] = [{"type": "dataset", "name": part["name"], "description": part["description"]}]
    return document


def _card(each: VersionDossier, dossier: Dossier) -> dict[str, Any]:
    figures = [(name, each.figures[name]) for name in KEY_FIGURES.get(each.stage, ()) if name in each.figures]
    metrics = [
        {
            "type": name,
            "value": f"{figure.value:.6g}",
            "slice": f"{figure.n} held-out samples",
            **(
                {"confidenceInterval": {"lowerBound": f"{figure.lower:.6g}", "upperBound": f"{figure.upper:.6g}"}}
                if figure.has_interval
                else {}
            ),
        }
        for name, figure in figures
    ]
    tables = [{"ref": f"{DATASET}{digest}"} for digest in dict.fromkeys(each.version.dataset_digests.values())]
    card: dict[str, Any] = {
        "modelParameters": {
            "task": TASKS.get(each.stage, WRITES),
            "approach": {"type": APPROACHES.get(each.stage, "supervised")},
            "datasets": tables,
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
    }
    if each is dossier.subject:
        card["considerations"] = {"technicalLimitations": limits(dossier)}
    return card
