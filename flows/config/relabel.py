"""The part of the configuration that says how many fresh answers a round compares, and who labels them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flows.config.pretrained import ModelSource
from rlhf_core.config import Frozen
from rlhf_core.config.label_spending import SpendingRule
from rlhf_core.config.units import PairCount, Prompts, ResponseCount, VoteCount


def _odd(votes: int) -> int:
    if votes % 2 == 0:
        raise ValueError(f"{votes} votes may be a tie; give an odd number")
    return votes


OddVotes = Annotated[VoteCount, Field(ge=1), AfterValidator(_odd)]


class RelabelConfig(Frozen):
    """How many answers of the newest policy are compared before a round."""

    prompts: Prompts = Field(1000, ge=1)
    """Training prompts that it answers, at most; others in each round. Those that the judge learns from are spared."""
    held_out_prompts: Prompts = Field(250, ge=1)
    """Held-out prompts that it answers, at most, to measure reward models on."""
    responses_per_prompt: ResponseCount = Field(2, ge=2, le=100)
    """Answers to each of them; n different ones make n (n - 1) / 2 pairs. Drawn as `policy.sampling` says."""
    pairs: PairCount | None = Field(None, ge=1)
    """Pairs of training prompts that are labelled, at most; null: all. Those of held-out prompts all are, as what is
    measured on must not be chosen."""
    spend: SpendingRule = "uniform"
    """Which they are: drawn by chance (`uniform`); those that the members of the newest reward model disagree about
    most (`disagreement`, needs `reward_model.heads` of 2 or more); those that it finds nearest to even (`uncertainty`);
    or such as differ most in their words (`coverage`)."""

    @model_validator(mode="after")
    def _spends_something(self) -> Self:
        if self.spend != "uniform" and self.pairs is None:
            raise ValueError(f"spend {self.spend} chooses among pairs, and all are labelled; say how many as `pairs`")
        return self


class ByAnnotators(RelabelConfig):
    """The embedded world's simulated annotators, with the biases of `data.annotators`."""

    by: Literal["annotators"] = "annotators"
    """The embedded world's annotators label."""
    votes: OddVotes = 3
    """Annotators of each pair; odd, so that there is a majority."""


class ByJudge(RelabelConfig):
    """A reward model from elsewhere, which prefers the first with probability sigma(difference of its scores)."""

    by: Literal["judge"] = "judge"
    """A reward model labels."""
    model: ModelSource
    """`models:/name/version`, `models:/name@alias`, `path` of a folder, or `model` and `revision` on the hub. Not the
    judge that measures: it would find right what it taught."""
    labels: Literal["drawn", "soft"] = "drawn"
    """`drawn`: each vote is drawn from that probability. `soft`: the votes are shared out by it, and many votes are a
    soft label; needs `reward_model.labels: votes`."""
    votes: OddVotes = 1
    """Votes on each pair; of soft labels, the steps between 0 and 1."""


class ByPeople(RelabelConfig):
    """People: the run waits for their labels, and the next one goes on."""

    by: Literal["people"] = "people"
    """People label."""
    folder: Path | None = None
    """Where the file with the pairs is written and the labelled one is looked for; `relabel` in the storage folder
    unless given."""


Relabel = Annotated[ByAnnotators | ByJudge | ByPeople, Field(discriminator="by")]
