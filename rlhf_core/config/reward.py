"""The reward of PPO: the trained reward model's score and further terms, each with a weight."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import Aggregate
from rlhf_core.config.units import Lines, Tokens, unit

TAKEN = ("score", "total", "offset", "gain", "model", "disagreement")
"""Names that figures of the reward model or of the sum have."""
NAME = r"^[a-z][a-z0-9_]{0,39}$"
FUNCTION = r"^(\w+(\.\w+)*:\w+(\.\w+)*|[\w.-]+)$"
"""`package.module:function`, or an installed entry point."""
REGISTERED = "models:/"
"""Starts the address of a version in the model registry."""


class WeighingConfig(Frozen):
    """How a term enters the sum: normalised, then clipped, then weighed."""

    weight: Annotated[float, unit("reward per unit of the term")] = Field(1.0, allow_inf_nan=False)
    """Reward for each unit of the term. Negative: less of it is better; 0: it is measured and not maximised."""
    normalise: Literal["none", "whiten"] = "none"
    """`whiten` subtracts the mean and divides by the standard deviation of the term over all rollouts so far."""
    clip: Annotated[float, unit("units of the term; standard deviations if whitened")] | None = Field(
        None, gt=0, allow_inf_nan=False
    )
    """The term, after normalising, is kept within plus and minus this. None: no limit."""


class TermConfig(WeighingConfig):
    """A further term."""

    name: str = Field(pattern=NAME)
    """Its figures are called `reward_<name>`."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in TAKEN or name.endswith("_gain"):
            raise ValueError(f"'{name}' would name two figures; take another than {', '.join(TAKEN)} or *_gain")
        return name


class ContainsConfig(TermConfig):
    """1 for a response that has any of the strings in it, else 0."""

    kind: Literal["contains"] = "contains"
    """Looks for strings."""
    strings: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """What is looked for, anywhere in the response."""
    case_sensitive: bool = False
    """Whether capital and small letters differ."""


class RegexConfig(TermConfig):
    """Whether, or how often, a regular expression is found in a response."""

    kind: Literal["regex"] = "regex"
    """Looks for a regular expression."""
    pattern: str = Field(min_length=1)
    """In the syntax of Python's `re`, found anywhere in the response."""
    measure: Literal["presence", "count"] = "presence"
    """`presence`: 1 or 0. `count`: matches that do not overlap."""

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error}); mend it or put it in single quotes") from None
        return pattern


class LengthConfig(TermConfig):
    """The length penalty: minus the tokens of a response beyond a target, so that the weight is the price of one."""

    kind: Literal["length"] = "length"
    """Charges length."""
    target: Tokens = Field(0, ge=0)
    """Tokens that cost nothing; 0 makes the penalty linear in the length. The end-of-sequence token counts."""


class FormatConfig(TermConfig):
    """1 for a response that has every form that is asked for, else 0."""

    kind: Literal["format"] = "format"
    """Looks at the form."""
    valid_json: bool = False
    """The whole response is a JSON object or array."""
    ends_with_punctuation: bool = False
    """The last character ends a sentence, closing quotes and brackets aside."""
    max_lines: Lines | None = Field(None, ge=1)
    """At most so many lines that are not blank."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> "FormatConfig":
        if not (self.valid_json or self.ends_with_punctuation or self.max_lines):
            raise ValueError("asks for no form; set valid_json, ends_with_punctuation or max_lines")
        return self


class PythonConfig(TermConfig):
    """Whatever a Python function of prompts and responses says."""

    kind: Literal["python"] = "python"
    """Asks a function of one's own; `rlhf init` writes one to begin with."""
    function: str = Field(pattern=FUNCTION)
    """`package.module:function`, or the name of an installed entry point of the group `rlhf_ladder.rewards`."""
    version: str = ""
    """To be changed when the function's results change and its source does not, as with another word list."""


class ModelConfig(TermConfig):
    """The calibrated score of a further reward model, which may have a base and a tokenizer of its own."""

    kind: Literal["model"] = "model"
    """Asks a further reward model."""
    reward_model: str = Field(min_length=1)
    """A folder, or a version in the model registry: `models:/name/version` or `models:/name@alias`."""

    @property
    def registered(self) -> str | None:
        """The version as `name/version` or `name@alias`, None for a folder."""
        return self.reward_model.removeprefix(REGISTERED) if self.reward_model.startswith(REGISTERED) else None


RuleConfig = ContainsConfig | RegexConfig | LengthConfig | FormatConfig
"""Terms that the text and its length decide."""


class EnsembleConfig(Frozen):
    """Reward models that make one score together with the trained one: of other seeds, or other adapters on its trunk.

    Their calibrated scores share a unit, and 0 is the mean of the demonstrations for each.
    """

    members: tuple[str, ...] = Field(min_length=1)
    """Names of terms of kind `model`, which then enter the sum here and nowhere else."""
    aggregate: Aggregate = "mean"
    """`mean`, `min` (the worst case), or `uncertainty`, the mean less `uncertainty_lambda` times the variance."""
    uncertainty_lambda: Annotated[float, unit("per unit of calibrated reward")] = Field(0.5, ge=0, allow_inf_nan=False)
    """For aggregate `uncertainty`: price of the variance of the calibrated scores."""


class RewardConfig(Frozen):
    """The sum that PPO maximises; KL and the penalty for not ending are apart from it."""

    model: WeighingConfig = WeighingConfig()
    """The calibrated score of the trained reward model, whose figure is `reward_score`."""
    terms: tuple[Annotated[RuleConfig | PythonConfig | ModelConfig, Field(discriminator="kind")], ...] = ()
    """Further terms."""
    ensemble: EnsembleConfig | None = None
    """Which of them make one score with the trained reward model's; it replaces that in the sum."""
    whiten: bool = False
    """Whiten the sum by its mean and standard deviation over all rollouts so far; `beta` is then the price of a nat in
    standard deviations of the sum."""
    clip: Annotated[float, unit("calibrated reward; standard deviations if whitened")] | None = Field(
        None, gt=0, allow_inf_nan=False
    )
    """The sum, after whitening, is kept within plus and minus this. None: no limit."""

    @model_validator(mode="after")
    def _names_differ(self) -> "RewardConfig":
        names = [term.name for term in self.terms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several terms are called '{twice[0]}'; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _members_are_reward_models(self) -> "RewardConfig":
        by_name = {term.name: term for term in self.terms}
        members = self.ensemble.members if self.ensemble else ()
        if twice := sorted({name for name in members if members.count(name) > 1}):
            raise ValueError(f"ensemble.members names '{twice[0]}' more than once; name each member once")
        for name in members:
            term = by_name.get(name)
            if not isinstance(term, ModelConfig):
                raise ValueError(f"ensemble.members names '{name}', which is no term of kind 'model'; add it to terms")
            if (term.weight, term.normalise, term.clip) != (1.0, "none", None):
                raise ValueError(
                    f"term '{name}' is a member of the ensemble, which enters the sum as one; set weight, normalise "
                    "and clip of reward.model instead"
                )
        return self
