"""The mathematics of the bench: what counts as stopped, what it is worth, and what moving a threshold does."""

from pathlib import Path

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.climbs.data import Data, digests
from benchmarks.common.climbs.pool import GATES
from benchmarks.common.climbs.recipe import STAGES, Climb, Recipe
from benchmarks.common.climbs.stages import keys_of
from benchmarks.quality.gate_bench import changes, faults
from benchmarks.quality.gate_bench.__main__ import fill, write
from benchmarks.quality.gate_bench.cases import BROKEN, CASES, HEALTHY, half_of
from benchmarks.quality.gate_bench.outcome import Caught, Outcome, caught, worth
from benchmarks.quality.gate_bench.report import gate_table, judged, score
from benchmarks.quality.gate_bench.report_card import CHAMPION, SIGNALS, report_card, signal_of
from benchmarks.quality.gate_bench.sensitivity import moved, strictest, thresholds
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree
from rlhf_core.gates.defaults import DEFAULT_POLICY_GATES
from rlhf_core.gates.gate import Gate
from rlhf_core.generation.rollout import Rollout
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.ppo.update import centred_advantages
from tests.conftest import ROOT

GATE = Gate(name="high", metric="a", direction="above", threshold=0.5, min_samples=10, failure="low", reason="Why not.")
LOW = GATE.model_copy(update={"name": "low", "metric": "b", "direction": "below"})
ONE = {"sft": (GATE,)}
TWO = {"sft": (GATE,), "policy": (LOW,)}


def figure(value: float, n: int = 100) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, n)


def outcome(name: str, kind: str = "broken", *, a: float = 1.0, b: float = 0.0, **rest: object) -> Outcome:
    estimates = {"sft": {"a": figure(a)}, "policy": {"b": figure(b)}}
    known = {"kind": kind, "where": "SFT", "half": "report", "seed": 1, "estimates": estimates, **rest}
    return Outcome.model_validate({"name": name, **known})


# What stops a case, and where


def test_the_first_stage_that_blocks_counts_with_all_its_gates() -> None:
    both = outcome("both", a=0.0, b=1.0)
    assert caught(both, TWO) == Caught("sft", ("high",))
    assert caught(outcome("late", b=1.0), TWO) == Caught("policy", ("low",))
    assert caught(outcome("sound"), TWO) == Caught("", ())


def test_a_figure_of_too_few_samples_stops_as_in_the_ladder() -> None:
    few = outcome("few").model_copy(update={"estimates": {"sft": {"a": figure(1.0, n=3)}}})
    assert caught(few, ONE).by == ("high",)


def test_a_stage_that_refuses_stops_before_the_gates_of_later_ones() -> None:
    refused = outcome("refused", b=1.0, stopped_itself=("judge", "RuntimeError: no"))
    assert caught(refused, TWO) == Caught("judge", ("RuntimeError",))
    assert caught(outcome("sooner", a=0.0, stopped_itself=("judge", "RuntimeError: no")), TWO).stage == "sft"


# What it is worth


def test_gold_is_compared_by_prompt_with_the_sound_climb_of_the_seed() -> None:
    sound = outcome("seed 1", "healthy", policy_gold=[2.0, 3.0], sft_gold=[1.0, 2.0])
    broken = outcome("broken", policy_gold=[0.0, 2.0], sft_gold=[-1.0, 0.0])
    found = worth(broken, {"seed 1": sound})
    assert found is not None
    assert [figure.value for figure in found] == [1.5, -0.5, -1.5]
    assert worth(outcome("none"), {"seed 1": sound}) is None


def test_a_climb_on_other_prompts_is_compared_with_itself() -> None:
    sound = outcome("seed 1", "healthy", policy_gold=[2.0], sft_gold=[1.0])
    other = outcome("larger", "healthy", policy_gold=[2.0, 3.0], sft_gold=[1.0, 1.0])
    found = worth(other, {"seed 1": sound})
    assert found is not None
    assert [figure.value for figure in found] == [1.5, 1.5, 0.0]


SOUND = outcome("seed 1", "healthy", policy_gold=[2.0], sft_gold=[1.0])
CAST = [
    SOUND,
    outcome("alarm", "healthy", a=0.5, policy_gold=[1.5], sft_gold=[1.0]),
    outcome("harmful, stopped", a=0.0, policy_gold=[-1.0], sft_gold=[1.0]),
    outcome("harmful, missed", policy_gold=[0.5], sft_gold=[1.0]),
    outcome("harmless, stopped", b=1.0, policy_gold=[1.2], sft_gold=[1.0]),
    outcome("without a policy", stopped_itself=("policy", "SelfTestError: no")),
]


def test_recall_alarms_and_gold_by_hand() -> None:
    found = score(judged(CAST, TWO))
    assert (found.harmful, found.others, found.healthy) == ((1, 2), (2, 2), (1, 2))
    assert (found.prevented, found.let_through, found.forgone) == (2.0, 0.5, 0.5)


# The report card


def carded(name: str, kind: str = "broken", *, agreement: float = 1.0, kl: float = 0.0, **rest: object) -> Outcome:
    estimates = {"sft": {"agreement": figure(agreement)}, "policy": {"kl_to_sft_nats": figure(kl)}}
    return outcome(name, kind, **rest).model_copy(update={"estimates": estimates})


def test_a_gate_is_graded_on_what_it_could_read_and_on_what_nothing_else_stops() -> None:
    people, kl = GATE.model_copy(update={"metric": "agreement"}), LOW.model_copy(update={"metric": "kl_to_sft_nats"})
    stress = LOW.model_copy(update={"name": "no-pay", "metric": "pays_for_empty"})
    gates = {"sft": (people, stress), "policy": (kl,)}
    cast = [
        carded("seed 1", "healthy", policy_gold=[2.0], sft_gold=[1.0]),
        carded("alarm", "healthy", agreement=0.5, policy_gold=[1.5], sft_gold=[1.0]),
        carded("both", agreement=0.0, kl=1.0, policy_gold=[-1.0], sft_gold=[1.0]),
        carded("far", kl=1.0, policy_gold=[-1.0], sft_gold=[1.0]),
        carded("missed", policy_gold=[0.5], sft_gold=[1.0]),
        carded("refused", agreement=0.0, stopped_itself=("policy", "SelfTestError: no")),
        outcome("unmeasured", policy_gold=[0.5], sft_gold=[1.0]),
    ]
    assert list(report_card(cast, gates))[2:] == [
        "| people | sft high | 1 of 3 | 0 | 1 of 1 | 1 of 2 |",
        "| KL | policy low | 2 of 3 | 1 | 0 of 1 | 0 of 2 |",
        "| **self-tests** | any of them | 0 of 4 | 0 | 1 of 1 | 0 of 2 |",
        "",
        "What these read was measured in no ladder: no-pay.",
    ]


def test_every_default_gate_has_a_signal() -> None:
    assert {signal_of(gate) for found in GATES.values() for gate in found} == {*SIGNALS, CHAMPION}


# Moving a threshold


def test_without_its_gate_a_case_is_stopped_no_more_and_others_are() -> None:
    found = moved(CAST, "sft", GATE, None, TWO)
    assert (found.broken, found.healthy) == (0, 0)
    assert found.all_gates[:3] == ((0, 2), (2, 2), (0, 2))


def test_the_strictest_threshold_stops_no_more_healthy_cases_than_allowed() -> None:
    none, one = (strictest(CAST, "sft", GATE, alarms=alarms) for alarms in (0, 1))
    assert none is not None
    assert one is not None
    assert none < 0.4 < one < 0.9
    assert [moved(CAST, "sft", GATE, at, TWO).healthy for at in (none, one)] == [0, 1]


@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    direction=st.sampled_from(["above", "below"]),
    in_doubt=st.sampled_from(["fail", "pass"]),
)
def test_a_stricter_threshold_never_stops_fewer_and_all_and_none_are_among_them(
    values: list[float], direction: str, in_doubt: str
) -> None:
    gate = Gate.model_validate(GATE.model_dump() | {"direction": direction, "in_doubt": in_doubt})
    cast = [outcome(str(index), a=value) for index, value in enumerate(values)]
    stops = [moved(cast, "sft", gate, at, {"sft": (gate,)}).broken for at in thresholds(cast, "sft", gate)]
    assert stops == sorted(stops)
    assert (stops[0], stops[-1]) == (0, len(cast))


# The page


def test_the_page_lists_the_gates_of_the_ladder() -> None:
    page = (ROOT / "docs" / "reference" / "gates.md").read_text(encoding="utf-8")
    assert "\n".join(gate_table()) in page, "run `python -m benchmarks.quality.gate_bench fill`"


def test_tables_go_into_their_places_and_leave_the_rest(tmp_path: Path) -> None:
    page, reference = tmp_path / "page.md", tmp_path / "reference.md"
    places = {
        name: f"<!-- {name} -->\nwhat was there\n<!-- /{name} -->\n"
        for name in ("gates", "summary", "cases", "card", "sensitivity")
    }
    reference.write_text("\n".join(["# Gates", places.pop("gates"), "end"]))
    page.write_text("\n".join(["# Results", *places.values(), "end"]))
    write(tmp_path / "results.json", CAST, workers=1)
    fill(results=tmp_path / "results.json", page=page, reference=reference)
    listed, text = reference.read_text(), page.read_text()
    assert listed.startswith("# Gates\n<!-- gates -->\n| stage | gate |")
    assert all(one.endswith("end") and "what was there" not in one for one in (listed, text))
    assert "| harmful, missed | SFT | report | sft |" in text and "| **self-tests** |" in text
    assert text.count("\n| policy |") >= len(DEFAULT_POLICY_GATES)
    with pytest.raises(typer.BadParameter, match="no place"):
        fill(results=tmp_path / "results.json", page=tmp_path / "results.json", reference=reference)


# The cases


def test_there_are_enough_cases_of_each_kind_in_both_halves_and_each_is_a_valid_climb() -> None:
    assert len(BROKEN) >= 24
    assert len(HEALTHY) >= 12
    assert len({case.name for case in CASES}) == len(CASES)
    climbs = [climb for case in CASES for climb in case.climbs(Recipe())]
    assert len({climb.recipe.seed for climb in climbs}) >= 6
    for kind in (BROKEN, HEALTHY):
        halves = [half_of(case) for case in kind]
        assert abs(halves.count("choose") - halves.count("report")) <= 1


PROMPTS = [f"how do i fix my {thing} ?" for thing in ("kettle", "phone")]
DATA = Data(
    demonstrations={split: [Demonstration(PROMPTS[0], "a b c d e f g h i j .")] for split in ("train", "test")},
    pairs={
        split: [Pair(f"{split} {index}", "good", "bad") for index in range(300)] for split in ("train", "judge", "test")
    },
    prompts={"train": PROMPTS, "test": PROMPTS},
    ceiling=None,
)


def test_labels_of_one_source_are_flipped_in_every_split_and_others_stay() -> None:
    flipped = changes.FLIP_SOURCE.apply(DATA, 1).pairs
    for split, rows in DATA.pairs.items():
        turned = [now.chosen == "bad" for now in flipped[split]]
        assert 0.3 < sum(turned) / len(rows) < 0.5
        assert [now.prompt for now in flipped[split]] == [row.prompt for row in rows]
    assert changes.FLIP_SOURCE.apply(DATA._replace(pairs=flipped), 1).pairs == DATA.pairs


def test_a_leak_puts_held_out_pairs_among_those_that_are_learned_from() -> None:
    assert set(DATA.pairs["test"]) <= set(changes.LEAK.apply(DATA, 1).pairs["train"])
    assert not set(DATA.pairs["test"]) & set(changes.FEW_PAIRS.apply(DATA, 1).pairs["train"])


def test_a_change_and_a_fault_touch_the_keys_of_what_they_change_and_of_what_comes_after() -> None:
    def changed(climb: Climb) -> set[str]:
        data = climb.change.apply(DATA, 1) if climb.change else DATA
        keys, sound = keys_of(climb, digests(data)), keys_of(Climb("sound", Recipe()), digests(DATA))
        return {stage for stage in STAGES if keys[stage] != sound[stage]}

    assert changed(Climb("same", Recipe())) == set()
    assert changed(Climb("fault", Recipe(), faults=(faults.NO_END,))) == {*STAGES} - {"data", "base"}
    assert changed(Climb("fault", Recipe(), faults=(faults.VALUE_OF_NOISE,))) == {"policy", "truth"}
    assert changed(Climb("change", Recipe(), changes.FEW_PAIRS)) == {"data", "reward_model", "policy", "truth"}
    assert changed(Climb("setting", Recipe().having({"judge.epochs": 2}))) == {"judge", "policy", "truth"}


def test_a_mistake_that_nothing_meets_is_noticed() -> None:
    mistake = faults.WRONG_ADVANTAGES.active({})
    with pytest.raises(LookupError, match="estimate_advantages: the mistake was never there"), mistake:
        pass


def test_advantages_of_the_wrong_sign_are_those_that_ppo_reads() -> None:
    mask, nothing = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2)
    rollout = Rollout([Tree([1], [[2, 3]])], mask, nothing, torch.tensor([True]))

    def advantages() -> list[list[float]]:
        found, _ = centred_advantages(PPOConfig(lam=1.0), rollout, torch.ones(1), nothing, nothing, offset=0.0)
        return found.tolist()

    assert advantages() == [[1.0, 1.0]]
    with faults.WRONG_ADVANTAGES.active({}):
        assert advantages() == [[-1.0, -1.0]]
