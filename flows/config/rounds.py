"""What several rounds of the ladder need of a configuration."""

from flows.config.data import EmbeddedData
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.relabel import ByAnnotators, Relabel


def check_rounds(config: LadderConfig, times: int) -> None:
    """Refuse several rounds that could not learn from each other.

    Raises:
        InputError: if nobody labels fresh answers, no reward model would learn from them, or the pairs to label cannot
            be chosen as is said.
    """
    if times == 1:
        return
    spends = relabelling(config).spend
    if spends == "disagreement" and config.reward_model.heads < 2:
        raise InputError(
            "field 'relabel.spend': disagreement is that of an ensemble, and the reward model has one head; set "
            "reward_model.heads to 2 or more, or spend by another rule"
        )
    if config.reward_model.source is not None:
        raise InputError(
            "field 'reward_model.from': a reward model from elsewhere is not trained, so that labels of fresh answers "
            "would change nothing; leave it out, or climb once"
        )


def relabelling(config: LadderConfig) -> Relabel:
    """How fresh answers are labelled.

    Raises:
        InputError: if nobody is configured to do so, or annotators who know only the embedded world.
    """
    if config.relabel is None:
        raise InputError(
            "field 'relabel' is missing, and another round needs someone to label the answers of the newest policy; "
            "add relabel: {by: annotators}, {by: judge, model: models:/name/version} or {by: people}"
        )
    if isinstance(config.relabel, ByAnnotators) and not isinstance(config.data, EmbeddedData):
        raise InputError(
            "field 'relabel.by': annotators know only the embedded world, and data.kind is another; "
            "use judge or people here, or climb once"
        )
    return config.relabel
