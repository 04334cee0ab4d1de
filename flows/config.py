"""The configuration of a climb: one YAML file mirrors this tree, and is checked before any work starts."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from data_contracts.records import COLUMNS
from flows.compute import ComputeConfig
from flows.data_config import ContractConfig, DataConfig, EmbeddedData, HubName, Revision
from flows.datasets import Shares
from flows.deploy_config import DeployConfig
from flows.errors import InputError as InputError
from flows.gates_config import GatesConfig
from flows.relabel_config import ByJudge, Relabel
from flows.reward_config import SCHEME, RewardModelSettings, Source
from rlhf_core.config import Frozen
from rlhf_core.config.base import PretrainConfig, TextBaseConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.rollout import SamplingConfig
from rlhf_core.config.sft import SFTConfig


class HubBase(Frozen):
    """A pretrained causal language model on the hub at a pinned revision; needs a network."""

    kind: Literal["hub"] = "hub"
    model: HubName
    revision: Revision


class IngestConfig(Frozen):
    """What ingestion depends on.

    Attributes:
        project: prefix of the registered names.
        storage: folder of registry, results and snapshots; relative to the working directory.
        shares: how the tables are divided.
    """

    project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: int = 0
    storage: Path = Path(".rlhf")
    data: DataConfig = Field(default_factory=EmbeddedData, discriminator="kind")
    contract: ContractConfig = Field(default_factory=ContractConfig)
    shares: Shares = Field(default_factory=Shares)


class LadderConfig(IngestConfig):
    """Everything that a climb depends on.

    Attributes:
        threads: CPU threads; None leaves the choice to torch.
        compute: on how many ranks stages run; no result depends on it.
        judge: the held-out reward model that only measures.
        relabel: how fresh answers of the newest policy are labelled, where the ladder is climbed in rounds.
    """

    threads: int | None = Field(default=None, ge=1)
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    base: PretrainConfig | TextBaseConfig | HubBase = Field(default_factory=PretrainConfig, discriminator="kind")
    sft: SFTConfig = Field(default_factory=SFTConfig)
    reward_model: RewardModelSettings = Field(default_factory=RewardModelSettings)
    judge: RewardModelSettings = Field(default_factory=RewardModelSettings)
    policy: PPOConfig | DPOConfig = Field(default_factory=PPOConfig, discriminator="method")
    relabel: Relabel | None = None
    gates: GatesConfig = Field(default_factory=GatesConfig)

    @model_validator(mode="before")
    @classmethod
    def _method_is_ppo_unless_named(cls, values: Any) -> Any:
        match values:
            case {"policy": {**settings}} if "method" not in settings:
                return {**values, "policy": {"method": "ppo", **settings}}
        return values

    @model_validator(mode="after")
    def _every_table_has_a_source(self) -> "LadderConfig":
        if isinstance(self.data, EmbeddedData):
            return self
        if empty := [kind for kind in COLUMNS if not getattr(self.data, kind)]:
            raise ValueError(f"data.{empty[0]} has no source, which a climb needs; name at least one")
        return self

    @model_validator(mode="after")
    def _judge_is_another_model(self) -> "LadderConfig":
        if self.judge.source is not None and self.judge.source == self.reward_model.source:
            raise ValueError("judge.from is reward_model.from, but a judge must be another model; take or train one")
        return self

    @model_validator(mode="after")
    def _labels_come_from_someone_else(self) -> "LadderConfig":
        match self.relabel:
            case ByJudge(model=model) if model == self.judge.source or _is_named(model, f"{self.project}-judge"):
                raise ValueError("relabel.model is the judge, which would find right what it taught; name another")
            case ByJudge(labels="soft") if self.reward_model.labels == "majority":
                raise ValueError(
                    "relabel.labels soft are lost on reward_model.labels majority; set that to votes, or these to drawn"
                )
        return self

    @model_validator(mode="after")
    def _only_members_disagree(self) -> "LadderConfig":
        limited = isinstance(self.policy, PPOConfig) and self.policy.disagreement_limit is not None
        alone = self.reward_model.source is None and self.reward_model.heads == 1
        if limited and alone and self.policy.reward.ensemble is None:
            raise ValueError(
                "policy.disagreement_limit needs an ensemble, and a single head disagrees with nobody; set "
                "reward_model.heads to 2 or more, name policy.reward.ensemble, or set it to null"
            )
        return self

    @model_validator(mode="after")
    def _a_shared_trunk_is_whole(self) -> "LadderConfig":
        shared = isinstance(self.policy, PPOConfig) and self.policy.adapter is not None
        if shared and self.compute.strategy == "fsdp" and self.compute.ranks > 1:
            raise ValueError(
                "policy.adapter has the models of PPO share one trunk, which compute.strategy 'fsdp' would shard for "
                "each; set compute.strategy to ddp"
            )
        return self

    @model_validator(mode="after")
    def _embedded_base_needs_embedded_data(self) -> "LadderConfig":
        if self.base.kind == "embedded" and self.data.kind != "embedded":
            raise ValueError("base.kind 'embedded' speaks only the embedded world; use 'from_text' or 'hub' here")
        return self

    @model_validator(mode="after")
    def _prompts_and_responses_fit_the_base(self) -> "LadderConfig":
        if isinstance(self.base, HubBase):
            return self
        trained = {"reward_model": self.reward_model, "judge": self.judge}
        limits: dict[str, SamplingConfig | RewardModelConfig] = {
            "sft.sampling": self.sft.sampling,
            **{section: config for section, config in trained.items() if config.source is None},
            "policy.sampling": self.policy.sampling,
        }
        for section, limit in limits.items():
            if limit.max_prompt_tokens + limit.max_response_tokens > self.base.max_positions:
                raise ValueError(
                    f"{section}: max_prompt_tokens {limit.max_prompt_tokens} and max_response_tokens "
                    f"{limit.max_response_tokens} exceed base.max_positions {self.base.max_positions}; raise that one"
                )
        return self


class LadderFile(LadderConfig):
    """A configuration file: a climb, and how it is deployed."""

    deploy: DeployConfig = Field(default_factory=DeployConfig)

    @property
    def climb(self) -> LadderConfig:
        """What a climb depends on."""
        return LadderConfig.model_validate({name: getattr(self, name) for name in LadderConfig.model_fields})


def _is_named(model: Source, name: str) -> bool:
    """Whether a model is a version of a registered name."""
    return isinstance(model, str) and re.split("[/@]", model.removeprefix(SCHEME))[0] == name


Config = TypeVar("Config", bound=IngestConfig)


def load_config(path: Path, *, overrides: Sequence[str] = ()) -> LadderConfig:
    """Read and validate the configuration of a climb.

    Args:
        path: YAML file.
        overrides: `dotted.field=value` pairs that replace values of the file; values are YAML.

    Returns:
        The configuration, with `storage` made absolute.

    Raises:
        InputError: naming file, field and mend.
    """
    return load_file(path, overrides=overrides).climb


def load_file(path: Path, *, overrides: Sequence[str] = ()) -> LadderFile:
    """Read and validate a configuration file with its part on deployments; as `load_config`."""
    return _validated(LadderFile, path, _read(path, overrides))


def load_ingest_config(path: Path, *, overrides: Sequence[str] = ()) -> IngestConfig:
    """Read and validate what ingestion needs of a configuration, which may be that of a climb; as `load_config`."""
    document = _read(path, overrides)
    of_climbs = set(LadderFile.model_fields) - set(IngestConfig.model_fields)
    return _validated(IngestConfig, path, {name: part for name, part in document.items() if name not in of_climbs})


def _read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    document = _read_yaml(path)
    for override in overrides:
        _override(document, override)
    return document


def _validated(model: type[Config], path: Path, document: dict[str, Any]) -> Config:
    try:
        config = model.model_validate(document)
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_explain(item)}" for item in error.errors())) from None
    return config.model_copy(update={"storage": config.storage.expanduser().resolve()})


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be a mapping of fields such as `project: my-ladder`")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set {override}: write it as field.name=value")
    *parents, leaf = dotted.split(".")
    node = document
    for name in parents:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: {name} is not a section")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {override}: '{text}' is not valid YAML; quote it") from None


def _explain(item: Any) -> str:
    """One sentence per mistake: the field as it is written in the file, what is wrong, how to mend it."""
    loc: tuple[int | str, ...] = item["loc"]
    unknown = item["type"] == "extra_forbidden"
    section, written = _locate(loc[:-1] if unknown else loc)
    field = ".".join([*written, str(loc[-1])] if unknown else written)
    if unknown:
        known = sorted(_fields(section))
        close = difflib.get_close_matches(str(loc[-1]), known, n=1)
        mend = f"did you mean '{close[0]}'?" if close else f"remove it; known fields here: {', '.join(known)}"
        return f"field '{field}' is unknown; {mend}"
    if item["type"] == "missing":
        return f"field '{field}' is missing; add it"
    message = str(item["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if not field:
        return message
    given = f" (now {item['input']!r})" if isinstance(item["input"], str | int | float | None) else ""
    mend = "" if item["type"] == "value_error" else "; change it"
    return f"field '{field}': {message}{given}{mend}"


def _locate(loc: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The section at pydantic's location, and the location as written, without the tags of discriminated unions."""
    options: list[type[BaseModel]] = [LadderFile]
    section, written = options[0], []
    for part in loc:
        owner = next((model for model in options if part in _fields(model)), None)
        if isinstance(part, str) and owner is not None:
            options = _models_in(_fields(owner)[part].annotation)
        elif part == "[key]":  # of a mapping, whose key is the part before
            continue
        elif isinstance(part, str) and options:
            options = [model for model in options if part in _tags(model)] or options
            section = options[0]
            continue
        section = options[0] if options else section
        written.append(str(part))
    return section, written


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names that files give them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tags(model: type[BaseModel]) -> list[str]:
    """By what a member of a discriminated union is told from the others."""
    return [str(model.model_fields[name].default) for name in ("kind", "method", "by") if name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Configuration classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
