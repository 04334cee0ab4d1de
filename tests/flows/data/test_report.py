"""Figures from series, and the summary that people read, also of a climb that stopped."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from flows.pipeline.gating import StoppedByGate
from flows.pipeline.outside_measures import Answer, OutsideView
from flows.pipeline.summary import WIDTH, Summary, publish_summary, render
from flows.registry.client import Registry, open_registry
from flows.registry.names import ANSWERING
from flows.registry.references import DataRefs, DatasetRef, ModelRef, StageOutcome, StageRecord
from flows.report import format_estimate
from flows.stages.figures import figures_of
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.estimates import Estimate

SERIES = {
    "delta": [0.2, -0.4, 1.5, 2.5, 6.0, -0.1],
    "share_chosen": [1.0, 1.0, 0.8, 1.0, 0.9, 0.6],
    "eval_kl": [-0.01, 0.5, 2.0],
    "eval_reward": [0.0, 0.4, 0.9],
    "eval_judge": [0.0, 0.3, 0.2],
    "kl_to_sft_nats": [0.0, 0.1, 0.4],
    "eval_step": [0.0, 2.0, 4.0],
    "eval_judge_gain": [0.0, 0.3, 0.2],
    "eval_judge_gain_lower": [0.0, 0.2, 0.0],
    "eval_judge_gain_upper": [0.0, 0.4, 0.3],
    "judge_curve": [0.5, 0.3],
    "eval_distinct_2_ratio": [1.0, 0.9, 0.8],
    "eval_entropy_ratio": [1.0, 0.8, 0.7],
    "eval_duplicate_share": [0.0, 0.1, 0.2],
    "eval_self_bleu": [0.2, 0.25, 0.3],
}
OF_RUNS = {"judge_curve", "diversity_by_update"}
ALL_FIGURES = {"delta_histogram", "reliability", "reward_against_drift", "drift_per_update"} | OF_RUNS
GATE = Gate(
    name="beats-length",
    metric="agreement",
    direction="above",
    threshold=0.9,
    min_samples=10,
    failure="no better than length",
    reason="Made up.",
)
PASSED = GATE.model_copy(update={"name": "ends-answers", "threshold": 0.1})
KNOWN = GATE.model_copy(update={"name": "prompts-known", "metric": "prompt_shift_auc", "direction": "below"})
NAMES = ("gold", "gold_overconfident")
AGREEMENT = {"agreement": Estimate(0.7, 0.6, 0.8, 200)}


def record(stage: str, ladder_run: str = "this") -> StageRecord:
    ref = ModelRef(name=f"toy-{stage}", version="3", model_id="m-1", uri="", digest="d" * 64, run_id="r")
    return StageRecord(
        stage=stage, key="k", ladder_run=ladder_run, run_id="r", models={stage: ref}, estimates=AGREEMENT, seconds=2.0
    )


def table(name: str) -> DatasetRef:
    splits = {"train": 4, "test": 1}
    return DatasetRef(name=name, digest="abc" * 21, path="/p", rows=5, splits=splits, sources=("a.jsonl",), report="/r")


DATA = DataRefs(
    datasets={
        "demonstrations": table("demonstrations"),
        "preferences": table("preferences"),
        "prompts": table("prompts"),
    },
    counts={},
    estimates={"prompt_shift_auc": Estimate(0.52, 0.48, 0.56, 130)},
    report="/r",
    ladder_run="this",
    seconds=1.0,
)
STOPPED = StoppedByGate("reward-model", judge([GATE], AGREEMENT))


def summary(**changes: object) -> Summary:
    told: dict[str, object] = {
        "project": "toy",
        "arguments": "configs/toy.yaml",
        "run_id": "this",
        "data": DATA,
        "stages": [
            StageOutcome(record("sft"), reused=True),
            StageOutcome(record("reward-model"), reused=False),
        ],
        "verdicts": {
            "data": judge([KNOWN], DATA.estimates),
            "sft": judge([PASSED], AGREEMENT),
            "reward-model": judge([GATE], AGREEMENT),
        },
        "comparisons": {},
        "answers": None,
        "made": {"sft": "reused", "reward-model": "trained", "policy": "trained"},
        "outcome": str(STOPPED),
        "alias": None,
        "no_alias": "gates stopped it at reward-model",
        "seconds": 61.4,
    }
    return Summary(**(told | changes))  # type: ignore[arg-type]


def shown(told: Summary) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(render(told))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def line_with(text: str, *parts: str) -> str:
    return next(line for line in text.splitlines() if all(part in line for part in parts))


def test_every_kind_of_figure_is_drawn_as_png(tmp_path: Path) -> None:
    figures = figures_of(SERIES)
    assert set(figures) == ALL_FIGURES
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("absent", "left"),
    [
        ("delta", {"reward_against_drift", "drift_per_update"} | OF_RUNS),
        ("eval_judge", {"delta_histogram", "reliability", "drift_per_update"} | OF_RUNS),
        ("kl_to_sft_nats", {"delta_histogram", "reliability", "reward_against_drift"} | OF_RUNS),
        ("judge_curve", ALL_FIGURES - {"judge_curve"}),
        ("eval_self_bleu", ALL_FIGURES - {"diversity_by_update"}),
    ],
)
def test_figures_without_their_series_are_left_out(absent: str, left: set[str]) -> None:
    assert set(figures_of({name: values for name, values in SERIES.items() if name != absent})) == left
    assert set(figures_of(SERIES | {absent: []})) == left


def test_the_histogram_shows_magnitudes_and_names_the_share_in_the_band() -> None:
    (axes,) = figures_of({"delta": [-1.0, 1.0, 3.0, 9.0]})["delta_histogram"].axes
    assert sum(bar.get_height() for bar in axes.patches[:40]) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "band [0.5, 4.0]: 75% of pairs",
        "median 2.00",
    ]


def test_the_reliability_diagram_puts_the_share_agreed_at_the_stated_confidence() -> None:
    deltas = [1.0, 1.0, 1.0, -1.0]  # sigma(1) = 0.7311, three of four agree
    (axes,) = figures_of({"delta": deltas, "share_chosen": [1.0] * 4})["reliability"].axes
    (points,) = [container for container in axes.containers]
    assert points.lines[0].get_xydata().tolist() == [pytest.approx([0.7310586, 0.75])]


def test_the_reliability_of_claims_about_votes_is_the_share_of_the_votes() -> None:
    deltas, shares = [1.0, 1.0, -1.0, 3.0], [0.8, 0.9, 0.6, 0.75]  # sigma(3) = 0.9526
    (axes,) = figures_of({"delta": deltas, "share_chosen": shares})["reliability"].axes
    drawn = [container.lines[0].get_xydata().tolist()[0] for container in axes.containers]
    assert drawn == [pytest.approx([0.7310586, (0.8 + 0.9 + 0.4) / 3]), pytest.approx([0.9525741, 0.75])]


def test_reward_and_judge_are_drawn_over_the_root_of_kl_and_noise_below_zero_is_zero() -> None:
    (axes,) = figures_of(SERIES)["reward_against_drift"].axes
    proxy, judged = axes.get_lines()
    assert proxy.get_xdata() == pytest.approx([0.0, 0.5**0.5, 2.0**0.5]) == judged.get_xdata()
    assert list(proxy.get_ydata()) == SERIES["eval_reward"] and list(judged.get_ydata()) == SERIES["eval_judge"]


def test_the_curve_of_the_judge_is_drawn_beside_its_gains() -> None:
    (axes,) = figures_of(SERIES)["judge_curve"].axes
    curve = next(line for line in axes.get_lines() if line.get_label() == "d (0.50 - 0.30 log d)")
    assert curve.get_ydata()[-1] == pytest.approx(2.0**0.5 * (0.5 - 0.3 * 0.5 * 0.6931472))
    (points,) = axes.containers
    assert points.lines[0].get_xydata()[1].tolist() == pytest.approx([0.5**0.5, 0.3])


def test_drift_is_drawn_over_updates_counted_from_one() -> None:
    (axes,) = figures_of(SERIES)["drift_per_update"].axes
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 3]


def test_a_figure_is_shown_with_its_interval_and_an_exact_one_without() -> None:
    assert format_estimate(Estimate(0.71, 0.65, 0.77, 50)) == "0.710 [0.650, 0.770]"
    assert format_estimate(Estimate(2.0, 2.0, 2.0, 50)) == "2"


def test_a_stopped_climb_says_which_gate_stopped_it_and_why() -> None:
    text = shown(summary())
    assert "stopped by gate beats-length because" in text
    assert "no alias was set: gates stopped it at reward-model" in text
    line_with(text, "reward-model", "beats-length", "fail", "no better than length")
    line_with(text, "sft", "1 of 1", "pass", "ends-answers")
    line_with(text, "data", "1 of 1", "pass", "prompts-known")


def test_gates_that_stop_a_climb_stand_above_those_that_passed_which_have_one_line_for_each_stage() -> None:
    allowing = KNOWN.model_copy(update={"name": "beside-champion", "when_missing": "pass"})
    mixed = judge([PASSED, GATE, KNOWN, PASSED.model_copy(update={"name": "agrees"}), allowing], AGREEMENT)
    gates = shown(summary(verdicts={"sft": mixed[:1], "reward-model": mixed})).partition("\ngates ")[2].splitlines()
    rows = [line.split()[:3] for line in gates if line.startswith(("sft", "reward-model"))]
    assert rows == [
        ["reward-model", "beats-length", "fail"],
        ["reward-model", "prompts-known", "abstain"],
        ["sft", "1", "of"],
        ["reward-model", "2", "of"],
        ["reward-model", "1", "of"],
    ]
    assert any("2 of 5" in line and "ends-answers, agrees" in line for line in gates)
    assert any("1 of 5" in line and "not measured, which these allow: beside-champion" in line for line in gates)


def test_every_stage_is_shown_with_version_figures_and_whether_it_was_trained() -> None:
    text = shown(summary())
    line_with(text, "sft", "toy-sft/3", "reused", "2.0")
    line_with(text, "reward-model", "toy-reward-model/3", "trained")
    line_with(text, "reward-model", "agreement", "0.700 [0.600, 0.800]", "200")
    line_with(text, "data", "prompt_shift_auc", "0.520 [0.480, 0.560]", "130")
    line_with(text, "ingest", "made", "demonstrations abcabcabcabc: 5 rows, train 4, test 1")
    assert "toy: 61 s" in text
    line_with(shown(summary(run_id="another")), "ingest", "reused")


def test_nothing_is_cut_in_a_terminal_of_80_columns() -> None:
    answers = OutsideView(
        [], {f"{stage}_{name}": Estimate(-5.25, -6.0, -4.5, 400) for stage in ANSWERING for name in NAMES}
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(render(summary(answers=answers)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert line_with(text, "gold ", "-5.25").count("-5.25 [-6.00, -4.50]") == len(ANSWERING)
    assert line_with(text, "  overconfident").count("-5.25") == len(ANSWERING)
    line_with(text, "reward-model", "agreement", "0.700 [0.600, 0.800]", "200")


def test_a_climb_that_ended_before_its_data_is_still_shown() -> None:
    assert "nothing came of it" in shown(summary(data=None, stages=[], verdicts={}, outcome="nothing came of it"))


def test_a_climb_that_its_data_stopped_shows_their_figures_and_verdicts() -> None:
    stopping = judge([KNOWN.model_copy(update={"threshold": 0.5})], DATA.estimates)
    text = shown(summary(stages=[], verdicts={"data": stopping}, outcome=str(StoppedByGate("data", stopping))))
    line_with(text, "data", "prompt_shift_auc", "0.520 [0.480, 0.560]")
    line_with(text, "data", "prompts-known", "fail", "upper bound 0.56 is not below 0.5")
    assert "stopped by gate prompts-known because" in text


def test_answers_are_shown_with_their_gold_and_markup_in_them_is_text() -> None:
    answers = OutsideView(
        [
            (
                "why [bold]so?",
                [Answer("base", "no [/red] idea", {"gold": -1.5}), Answer("policy", "because", {"gold": 2})],
            )
        ],
        {"base_gold": Estimate(-5.25, -6.0, -4.5, 20), "policy_gold": Estimate(0.5, 0.4, 0.6, 20)},
    )
    text = shown(summary(answers=answers, alias="challenger", outcome="trained [all] of it"))
    assert "held-out prompt: why [bold]so?" in text and "trained [all] of it" in text
    line_with(text, "base", "-1.50", "no [/red] idea")
    line_with(text, "policy", "+2.00", "because")
    line_with(text, "gold", "-5.25 [-6.00, -4.50]", "0.50 [0.40, 0.60]")
    assert "alias 'challenger' set on these versions" in text


def test_without_a_measure_the_answers_of_the_policys_evaluation_are_shown() -> None:
    samples = [{"prompt": f"why {number}?", "sft": "no [/red] idea", "policy": "a good one"} for number in range(5)]
    climbed = [StageOutcome(record("policy").model_copy(update={"samples": samples}), reused=False)]
    text = shown(summary(stages=climbed))
    assert text.count("held-out prompt: why") == 3 and text.count("no [/red] idea") == text.count("a good one") == 3
    line_with(text, "policy", "a good one")
    assert "held-out prompt" not in shown(summary(stages=climbed, answers=OutsideView([])))


def test_a_stop_by_many_gates_names_three_and_how_many_more() -> None:
    gates = [GATE.model_copy(update={"name": f"gate-{number}"}) for number in range(5)]
    said = str(StoppedByGate("reward-model", judge(gates, AGREEMENT)))
    assert said.startswith("stopped by gate gate-0, gate-1, gate-2 and 2 more because agreement: lower bound 0.6 ")
    assert said.count("no better than length") == 3 and said.endswith(" and 2 more")
    assert "more" not in str(StoppedByGate("reward-model", judge(gates[:3], AGREEMENT)))


def test_a_challenger_may_be_promoted_next(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    climbed = [StageOutcome(record("policy"), reused=False)]
    for alias, hints in ((None, 0), ("challenger", 1)):
        publish_summary(summary(stages=climbed, alias=alias), registry, registry.start_run("ladder"))
        assert capsys.readouterr().out.count("  rlhf promote toy-policy --config configs/toy.yaml\n") == hints


@pytest.fixture
def registry(storage: Path) -> Registry:
    return open_registry("toy", storage)


def test_the_summary_is_kept_as_text_and_html_and_ends_with_what_to_type(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = registry.start_run("ladder")
    answers = OutsideView([], {"policy_gold": Estimate(0.5, 0.4, 0.6, 20)})
    publish_summary(summary(answers=answers), registry, run_id)
    kept = {name: registry.client.download_artifacts(run_id, name) for name in ("summary.txt", "summary.html")}
    text = Path(kept["summary.txt"]).read_text()
    hints = [
        "  rlhf report --config configs/toy.yaml",
        "  rlhf ui configs/toy.yaml",
        "  rlhf generate toy-sft/3 'your prompt' --config configs/toy.yaml",
        "  rlhf score toy-reward-model/3 --prompt 'a prompt' --response 'an answer' --config configs/toy.yaml",
    ]
    assert text.splitlines()[-4:] == hints and capsys.readouterr().out.splitlines()[-4:] == hints
    assert "stopped by gate beats-length" in text and "\x1b" not in text
    assert Path(kept["summary.html"]).read_text().startswith("<!DOCTYPE html>")
    gold = json.loads(Path(registry.client.download_artifacts(run_id, "gold.json")).read_text())
    assert gold == {"policy_gold": {"value": 0.5, "lower": 0.4, "upper": 0.6, "n": 20}}
