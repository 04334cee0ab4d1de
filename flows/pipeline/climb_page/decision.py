"""The decision in words, and the gates that it rests on, those that do not pass first."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flows.pipeline.climb_page.changed_gates import changed_gates
from flows.pipeline.climb_page.climb import Climb
from flows.pipeline.climb_page.next_steps import next_steps
from flows.pipeline.climb_page.parts import interval, numbers, percent
from flows.registry.names import GATED
from flows.registry.references import DATA
from rlhf_core.gates.champion import OVER_CHAMPION
from rlhf_core.gates.gate import Verdict, blocked
from rlhf_core.metrics.estimates import Estimate

NAMED = 3
"""Gates at most that the first words name."""

SAID = 5
"""Gates at most whose reasons stand at the top."""

WITHOUT_THEM = "`rlhf run` again leaves the withdrawn rows out."

NAMES = {DATA: "the data", "sft": "the SFT model", "reward-model": "the reward model", "policy": "the policy"}
"""What is judged, in words."""


class Decision(NamedTuple):
    """What a person should do, and why.

    Attributes:
        tone: `good`, `bad` or `open`.
        headline: the decision.
        reasons: a sentence each.
        steps: what to do next, a sentence each; what stands between backticks is typed or set.
    """

    tone: str
    headline: str
    reasons: Sequence[str]
    steps: Sequence[str] = ()


class Bullet(NamedTuple):
    """A verdict as a bullet chart, in percent of its width.

    Attributes:
        value, threshold: places.
        lower, upper: ends of the interval.
        good: where what passes lies.
    """

    value: float
    threshold: float
    lower: float
    upper: float
    good: tuple[float, float]


class JudgedGate(NamedTuple):
    """A gate as the page shows it.

    Attributes:
        asked: what must hold, in words.
        power: what so large a sample would have shown, empty where that was not computed.
        reason: why the threshold is what it is, empty where that is not kept.
    """

    judged: str
    verdict: Verdict
    said: str
    asked: str
    bullet: Bullet | None
    power: str
    reason: str


def decide(climb: Climb) -> Decision:
    """The decision in words, from verdicts and figures alone."""
    blocking = list(_blocking(climb))
    reasons = [*_ended(climb), *_better(climb), *_in_doubt(climb), *_champion(climb), *_overdue(climb)]
    reasons += changed_gates(climb.settings.get("gates", {}))
    if withdrawn := list(_withdrawn(climb)):
        headline, steps = "Trained on data that were withdrawn: do not promote.", [WITHOUT_THEM]
        return Decision("bad", headline, [*withdrawn, *reasons], steps)
    tone, headline = ("bad", _stopped(climb, blocking)) if blocking else _unblocked(climb)
    steps = [*next_steps(climb, tone, [verdict for _, verdict in blocking])]
    return Decision(tone, headline, [*_why(blocking), *reasons], steps)


def _unblocked(climb: Climb) -> tuple[str, str]:
    """Tone and headline where no gate blocks."""
    if "policy" not in climb.stages:
        outcome = climb.outcome or "it is still running, or was cut off without a word"
        return "open", f"Nothing to promote: {outcome}."
    verdicts = [verdict for found in climb.verdicts.values() for verdict in found]
    if not verdicts:
        return "open", "Nothing was judged: this run has no gates."
    tone, headline = _in_short(climb)
    passed = sum(verdict.status == "pass" for verdict in verdicts)
    return tone, f"{headline}; {passed} of {len(verdicts)} gates passed."


def _why(blocking: Sequence[tuple[str, Verdict]]) -> Iterator[str]:
    """What gates that block say, as far as it fits."""
    yield from (f"{verdict.gate}: {verdict.explanation}." for _, verdict in blocking[:SAID])
    if len(blocking) > SAID:
        yield f"{len(blocking) - SAID} more gates block, below."


def _stopped(climb: Climb, blocking: Sequence[tuple[str, Verdict]]) -> str:
    names = ", ".join(verdict.gate for _, verdict in blocking[:NAMED])
    more = f" and {len(blocking) - NAMED} more" if len(blocking) > NAMED else ""
    advisory = climb.settings.get("gates", {}).get("mode") == "advisory"
    verb = "Not stopped, as gates only advise, but refused by" if advisory else "Stopped by"
    return f"{verb} {names}{more}, which judged {NAMES.get(blocking[0][0], blocking[0][0])}: do not promote."


def _in_short(climb: Climb) -> tuple[str, str]:
    """Tone and decision on a policy that no gate blocks: beside the champion where it was compared, else beside SFT."""
    label, wins = climb.stages["policy"].version.label, climb.stages["policy"].figures.get("judge_win_rate")
    other = "its SFT model"
    if (over := _over_champion(climb)) is not None:
        wins, other = over, "the champion"
    if wins is None:
        return "open", f"{label} passed, and how often it is better than its SFT model was not measured"
    if wins.lower > 0.5:
        return "good", f"Promote {label}: better than {other} on {percent(wins)} of the prompts"
    if wins.upper < 0.5:
        return "bad", f"Do not promote {label}: it wins against {other} on {percent(wins)} of the prompts only"
    return "open", f"Nothing shows {label} better than {other}: it wins on {percent(wins)} of the prompts"


def _over_champion(climb: Climb) -> Estimate | None:
    """How often the policy won against the champion, where that was compared."""
    compared = climb.comparisons.get("policy")
    paired = compared.figures.get("judge_win_rate") if compared else None
    return paired.between if paired else None


def gates(climb: Climb) -> tuple[list[JudgedGate], list[JudgedGate]]:
    """The gates that fail or abstain, the worst first, and those that pass."""
    order = {"fail": 0, "abstain": 1, "pass": 2}
    shown = [_shown(climb, judged, verdict) for judged, verdicts in climb.verdicts.items() for verdict in verdicts]
    shown.sort(key=lambda gate: order[gate.verdict.status])
    unclear = [gate for gate in shown if gate.verdict.status != "pass"]
    return unclear, shown[len(unclear) :]


def _blocking(climb: Climb) -> Iterator[tuple[str, Verdict]]:
    settings = climb.settings.get("gates", {})
    for judged, verdicts in climb.verdicts.items():
        for verdict in blocked(verdicts, abstain_blocks=settings.get("abstain_blocks", True)):
            yield judged, verdict


def _overdue(climb: Climb) -> list[str]:
    return [f"{line[:1].upper()}{line[1:]}." for line in climb.overdue]


def _withdrawn(climb: Climb) -> Iterator[str]:
    """What of its data was withdrawn since or before, each once, with the first version that was trained on it."""
    said: dict[str, str] = {}
    for stage in climb.stages.values():
        for sentence in stage.version.withdrawn.values():
            said.setdefault(sentence, stage.version.label)
    yield from (f"{label} was trained on {sentence}." for sentence, label in said.items())


def _ended(climb: Climb) -> Iterator[str]:
    """What ended training of the policy before its time, and which state is the result."""
    if climb.ended:
        yield f"Its training {climb.ended}."


def _better(climb: Climb) -> Iterator[str]:
    """Whether the policy is better than what it started from, beyond noise, and at which length."""
    if "policy" not in climb.stages:
        return
    figures = climb.stages["policy"].figures
    if (wins := figures.get("judge_win_rate")) and (gain := figures.get("judge_reward_gain")):
        side = (
            "better" if wins.lower > 0.5 else "worse" if wins.upper < 0.5 else "neither better nor worse beyond noise"
        )
        yield (
            f"The judge, which training never saw, finds it {side} than its SFT model: its answer wins on "
            f"{percent(wins)} of {wins.n} held-out prompts, and gains {interval(gain)} logits on average."
        )
    if length := figures.get("length_ratio"):
        yield f"Its answers are {interval(length)} times as long as those of its SFT model."
    if gold := climb.outside.get("policy_win_rate"):
        yield f"From outside, which no gate sees: its answers win on {percent(gold)} of the prompts by the gold reward."


def _in_doubt(climb: Climb) -> Iterator[str]:
    verdicts = [verdict for found in climb.verdicts.values() for verdict in found]
    for verdict in verdicts:
        if verdict.status == "abstain" and climb.settings.get("gates", {}).get("abstain_blocks") is False:
            yield f"{verdict.gate} abstained: {verdict.explanation}."
    unmeasured = [verdict for verdict in verdicts if verdict.status == "pass" and verdict.value is None]
    if named := [verdict.gate for verdict in unmeasured if not verdict.metric.endswith(OVER_CHAMPION)]:
        yield f"Not measured, and allowed to be so: {', '.join(named)}."


def _champion(climb: Climb) -> Iterator[str]:
    """What is known of it beside the champion."""
    if "policy" not in climb.stages:
        return
    champion = climb.champions.get("policy")
    asked = [verdict for verdict in climb.verdicts.get("policy", ()) if verdict.metric.endswith(OVER_CHAMPION)]
    compared = [verdict for verdict in asked if verdict.n]
    if compared:
        if (both := climb.comparisons.get("policy")) and (like := both.figures.get("judge_score_at_like_length")):
            gain = interval(like.between)
            yield f"Where both answers are of one length it gains {gain} logits over the champion."
        yield from (f"Against the champion, {verdict.gate}: {verdict.explanation}." for verdict in compared)
    elif champion is None:
        yield "There was no champion to compare it with."
    elif champion.version.label == climb.stages["policy"].version.label:
        yield "It is the champion now."
    else:
        yield f"No gate compared it with {champion.version.label}, the champion now: read their answers side by side."


def _shown(climb: Climb, judged: str, verdict: Verdict) -> JudgedGate:
    listed = climb.settings.get("gates", {}).get(judged.replace("-", "_"), ()) if judged in (DATA, *GATED) else ()
    reasons = {gate["name"]: gate.get("reason", "") for gate in listed}
    ends = [end for end in (verdict.lower, verdict.upper) if end is not None]
    said = [] if verdict.value is None or not verdict.n else numbers(verdict.value, *ends, verdict.threshold)
    between = f" [{said[1]}, {said[2]}]" if len(set(ends)) == 2 else ""
    return JudgedGate(
        judged=judged,
        verdict=verdict,
        said=said[0] + between if said else "not measured",
        asked=f"{verdict.metric.replace('_', ' ')} {verdict.direction} {verdict.threshold:g}",
        bullet=_bullet(verdict),
        power=_power(verdict),
        reason=reasons.get(verdict.gate, ""),
    )


def _power(verdict: Verdict) -> str:
    """What so large a sample would have shown; nothing where sampling is no matter."""
    if not verdict.detectable:
        return ""
    return f"{verdict.n} prompts show a distance of {verdict.detectable:.2g} from there in 80 of 100 cases."


def _bullet(verdict: Verdict) -> Bullet | None:
    """Where value, interval and threshold lie, with some room on either side; None where nothing was measured."""
    if verdict.value is None or not verdict.n:
        return None
    ends = [verdict.value if end is None else end for end in (verdict.lower, verdict.upper)]
    places = [verdict.value, verdict.threshold, *ends]
    room = 0.15 * (max(places) - min(places)) or max(abs(verdict.threshold), 1.0)
    start, width = min(places) - room, max(places) - min(places) + 2 * room

    def place(at: float) -> float:
        return round(100 * (at - start) / width, 2)

    threshold = place(verdict.threshold)
    good = (threshold, 100 - threshold) if verdict.direction == "above" else (0.0, threshold)
    return Bullet(place(verdict.value), threshold, place(ends[0]), place(ends[1]), good)
