"""Default gates of data: what prompts and labels must show before anything is trained, and why."""

from rlhf_core.gates.gate import Gate

DEFAULT_DATA_GATES = (
    Gate(
        name="prompts-differ",
        metric="prompt_near_duplicate_share",
        direction="below",
        threshold=0.5,
        failure="prompts repeat each other",
        reason="About a tenth of the prompts of the embedded world nearly repeat another one, a hundredth of those "
        "that people wrote, and 70 to 100 % where every prompt stands in two spellings.",
    ),
    Gate(
        name="prompts-known",
        metric="prompt_shift_auc",
        direction="below",
        threshold=0.75,
        failure="prompts unlike those of the preference pairs",
        reason="The area is .75 if half of the prompts are of a kind that no pair has, or all are about half of the "
        "topics. Prompts of the source of the pairs measured .43 to .56, those of another public source .84 to .99.",
    ),
    Gate(
        name="sources-agree",
        metric="least_source_agreement",
        direction="above",
        threshold=0.5,
        min_samples=30,
        when_missing="pass",
        in_doubt="pass",
        failure="the labels of a source contradict those of the others",
        reason="A bag of words that learned from the other sources agrees with .6 to .7 of the labels of a sound batch "
        "of the embedded world, and with .3 to .4 of one whose labels are the wrong way round. Which source it is "
        "stands in the report; the interval holds for all of them together.",
    ),
)
