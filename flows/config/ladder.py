"""The configuration of a climb: one YAML file mirrors this tree, and is checked before any work starts."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from data_contracts.records import COLUMNS
from flows.config.audit import AuditConfig
from flows.config.compute import ComputeConfig
from flows.config.data import ContractConfig, DataConfig, EmbeddedData, Shares
from flows.config.deploy import DeployConfig
from flows.config.evidence import EvidenceConfig
from flows.config.freshness import FreshnessConfig
from flows.config.gates import GatesConfig
from flows.config.imported_policy import ImportedPolicy
from flows.config.lineage import LineageConfig
from flows.config.model_card import ModelCardConfig
from flows.config.pretrained import SCHEME, FolderBase, GGUFBase, HubBase, HubModel, LocalModel, ModelSource, Pretrained
from flows.config.promotion import PromotionConfig
from flows.config.relabel import ByJudge, Relabel
from flows.config.reward_model import RewardModelSettings
from rlhf_core.config import Frozen
from rlhf_core.config.base import PretrainConfig, TextBaseConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.outside_measures import OutsideMeasureConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.reward import PythonConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.config.units import Seed, Threads

METHOD_UNLESS_NAMED, METHOD_OF_SOURCE = "ppo", "imported"
"""How a policy is made where its section names no method: the first, or the second where it says `from` where."""

BaseConfig = PretrainConfig | TextBaseConfig | HubBase | FolderBase | GGUFBase

PROJECT = r"^[a-z0-9][a-z0-9-]{0,99}$"
"""How a project may be called."""


class IngestConfig(Frozen):
    """What ingestion depends on."""

    project: Annotated[str, Field(pattern=PROJECT)]
    """Prefix of the registered names."""
    seed: Seed = 0
    """Seed of every draw: data of the embedded world, initial weights, order of rows, sampled answers."""
    storage: Path = Path(".rlhf")
    """Folder of registry, results and snapshots; relative to the working directory."""
    data: DataConfig = Field(default_factory=EmbeddedData, discriminator="kind")
    """Where demonstrations, preferences and prompts come from."""
    contract: ContractConfig = Field(default_factory=ContractConfig)
    """What happens to rows that break a rule."""
    shares: Shares = Field(default_factory=Shares)
    """How the tables are divided."""
    lineage: LineageConfig = LineageConfig()
    """Who else is told what ran and what it was made from."""
    audit: AuditConfig = AuditConfig()
    """How statements about what is made, judged and promoted are signed and kept; no result depends on it."""


class LadderConfig(IngestConfig):
    """Everything that a climb depends on."""

    threads: Threads | None = Field(default=None, ge=1, le=1024)
    """CPU threads; null leaves the choice to torch."""
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    """On how many ranks stages run; no result depends on it."""
    base: BaseConfig = Field(default_factory=PretrainConfig, discriminator="kind")
    """The language model that everything starts from."""
    sft: SFTConfig = Field(default_factory=SFTConfig)
    """Stage 1, supervised fine-tuning."""
    reward_model: RewardModelSettings = Field(default_factory=RewardModelSettings)
    """Stage 2, the reward model that the policy is trained against."""
    judge: RewardModelSettings = Field(default_factory=RewardModelSettings)
    """The held-out reward model that only measures."""
    policy: PPOConfig | DPOConfig | ImportedPolicy = Field(default_factory=PPOConfig, discriminator="method")
    """Stage 3, the policy: trained, by PPO where no method is named, or taken `from` elsewhere."""
    relabel: Relabel | None = None
    """How fresh answers of the newest policy are labelled, where the ladder is climbed in rounds."""
    gates: GatesConfig = Field(default_factory=GatesConfig)
    """What data and stages must show."""
    evidence: EvidenceConfig = EvidenceConfig()
    """What is kept of the held-out rows that verdicts rest on."""
    freshness: FreshnessConfig = FreshnessConfig()
    """How old champions and data may become before somebody is told."""
    promotion: PromotionConfig = PromotionConfig()
    """What a champion needs besides its alias before anything starts from it."""
    model_card: ModelCardConfig = ModelCardConfig()
    """What people say of the models themselves, in the cards that go with them."""
    outside_measures: tuple[OutsideMeasureConfig, ...] = ()
    """What people are told of the answers besides; no gate and no training sees it."""

    @property
    def taken_models(self) -> dict[str, ModelSource]:
        """Models besides the base that are taken from elsewhere, by the field that names them."""
        sources = {"reward_model.from": self.reward_model.source, "judge.from": self.judge.source}
        if isinstance(self.policy, ImportedPolicy):
            sources["policy.from"] = self.policy.source
        if isinstance(self.relabel, ByJudge):
            sources["relabel.model"] = self.relabel.model
        return {field: source for field, source in sources.items() if source is not None}

    @property
    def taken_stages(self) -> set[str]:
        """Stages that take a model from elsewhere instead of making one."""
        sections = {field.partition(".")[0] for field in self.taken_models} - {"relabel"}
        base = {"base"} if isinstance(self.base, Pretrained) else set()
        return base | {section.replace("_", "-") for section in sections}

    @property
    def pretrained_models(self) -> dict[str, HubModel | LocalModel]:
        """The models that come from the hub or from this machine, by the field that names them."""
        models = {"base": self.base, **self.taken_models}
        return {field: model for field, model in models.items() if isinstance(model, HubModel | LocalModel)}

    @model_validator(mode="before")
    @classmethod
    def _method_may_be_left_out(cls, values: Any) -> Any:
        match values:
            case {"policy": {"from": _, "method": method}} if method != METHOD_OF_SOURCE:
                raise ValueError(
                    f"policy: from takes a policy that is trained already, and method {method} would train one; leave "
                    "one of them out"
                )
            case {"policy": {**settings}} if "method" not in settings:
                method = METHOD_OF_SOURCE if "from" in settings else METHOD_UNLESS_NAMED
                return {**values, "policy": {"method": method, **settings}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _answers_from_elsewhere_are_as_long(cls, values: Any) -> Any:
        match values:
            case {"policy": {"from": _} as policy, "sft": {"sampling": {} as of_sft}}:
                lengths = {name: of_sft[name] for name in Lengths._fields if name in of_sft}
                if isinstance(own := policy.get("sampling", {}), dict):
                    return {**values, "policy": {**policy, "sampling": {**lengths, **own}}}
        return values

    @model_validator(mode="after")
    def _every_table_has_a_source(self) -> "LadderConfig":
        if isinstance(self.data, EmbeddedData):
            return self
        if empty := [kind for kind in COLUMNS if not getattr(self.data, kind)]:
            raise ValueError(f"data.{empty[0]} has no source, which a climb needs; name at least one")
        return self

    @model_validator(mode="after")
    def _people_sign_what_is_signed(self) -> "LadderConfig":
        if self.promotion.two_people and not self.audit.sign:
            raise ValueError("promotion.two_people counts signatures, and audit.sign is false; set that to true")
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
    def _outside_measures_differ_and_are_outside(self) -> "LadderConfig":
        names = [measure.name for measure in self.outside_measures]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"outside_measures: several are called '{twice[0]}'; give each a name of its own")
        trained = {term.function: term.name for term in self.policy.reward.terms if isinstance(term, PythonConfig)}
        for measure in self.outside_measures:
            if measure.function in trained:
                raise ValueError(
                    f"outside_measures: '{measure.name}' is {measure.function}, which policy.reward maximises as "
                    f"'{trained[measure.function]}', so it is not outside; remove one of them"
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
            raise ValueError(
                "base.kind 'embedded' speaks only the embedded world; use 'from_text', 'folder', 'gguf' or 'hub' here"
            )
        return self

    @model_validator(mode="after")
    def _prompts_and_responses_fit_the_base(self) -> "LadderConfig":
        if isinstance(self.base, Pretrained):
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
    """Schedules, queues and alerts of deployed flows."""

    @property
    def climb(self) -> LadderConfig:
        """What a climb depends on."""
        return LadderConfig.model_validate({name: getattr(self, name) for name in LadderConfig.model_fields})


def _is_named(model: ModelSource, name: str) -> bool:
    """Whether a model is a version of a registered name."""
    return isinstance(model, str) and re.split("[/@]", model.removeprefix(SCHEME))[0] == name
