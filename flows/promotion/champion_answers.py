"""What two reward models make of the answers that the champion policy gives, where somebody compared these."""

import pyarrow as pa

from flows.config.errors import InputError
from flows.promotion.sides import Sides, margins, unseen
from flows.registry.labelled_answers import labelled_answers
from flows.registry.names import registered_name
from flows.registry.references import ModelRef
from flows.storage.records import read_pairs
from flows.storage.snapshots import SnapshotDamaged
from rlhf_core.data.records import Pair
from rlhf_core.metrics.champion_evidence import champion_answers_rows


def champion_policy_rows(sides: Sides, most: int) -> tuple[dict[str, pa.Table], str]:
    """Held-out pairs of answers of the champion policy, as both sides see them.

    Left out are prompts that either side was trained on, and pairs that one of the sides labelled itself.

    Args:
        sides: two reward models.
        most: pairs at most.

    Returns:
        The rows, and what they are; none where there is no champion policy, nobody compared its answers, or what was
        kept of them is not to be had.
    """
    project = sides.config.project
    policy = sides.registry.champion(registered_name(project, "policy"))
    if policy is None:
        return {}, ""
    try:
        found = _unseen_pairs(sides, policy)
    except (FileNotFoundError, InputError, SnapshotDamaged) as error:
        return {}, f"labelled answers of {policy.label} were not compared: {error}"
    pairs = [*found][:most]
    if not pairs:
        return {}, ""
    deltas = [margins(folder, pairs, sides.config.reward_model) for folder in sides.folders]
    by = ", ".join(dict.fromkeys(filter(None, found.values())))
    note = f"{len(pairs)} more pairs are answers of {policy.label}, the champion policy{by and f', compared by {by}'}"
    return champion_answers_rows(pairs, deltas), note


def _unseen_pairs(sides: Sides, policy: ModelRef) -> dict[Pair, str]:
    """Pairs of answers of a policy from which neither side has learned, each with who compared it."""
    own = {sides.challenger.label, sides.champion.label}
    found: dict[Pair, str] = {}
    for labelled in labelled_answers(policy, sides.config.project, sides.registry):
        if labelled.labelled_by not in own:
            known = unseen(sides, labelled.table, "pairs").prompts
            pairs = (pair for pair in read_pairs(labelled.table, "test") if pair.prompt in known)
            found |= dict.fromkeys(pairs, labelled.annotator)
    return found
