"""Outside measures: tried before any work, seen by no gate and no stage, and said where they fail at the end."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.pipeline.outside_functions import check_outside_measures, measure_sources
from flows.pipeline.outside_measures import (
    OutsideView,
    _asking,
    measure_answers,
)
from flows.pipeline.summary import render
from rlhf_core.config.outside_measures import OutsideMeasureConfig
from rlhf_core.data.records import Response
from rlhf_core.rewards.functions import FunctionError
from tests.flows.data.test_report import summary

WORDS = "tests.flows.outside:words"
LATE = "tests.flows.outside:broken_by_late"
PROMPT = '[{"role": "system", "content": "Go on."}, {"role": "user", "content": "The film"}]'


def config(*measures: dict[str, str], **fields: Any) -> LadderConfig:
    return LadderConfig.model_validate({"project": "toy", "outside_measures": measures, **fields})


def measured(*functions: str, **answers: str) -> OutsideView:
    measures = {name.partition(":")[2]: _asking(OutsideMeasureConfig(name="x", function=name)) for name in functions}
    return measure_answers([PROMPT], {stage: [Response(text, True)] for stage, text in answers.items()}, measures)


def shown(view: OutsideView) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render(summary(answers=view)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_answers_are_shown_with_what_each_measure_says_and_their_prompt_in_words() -> None:
    text = shown(measured(WORDS, LATE, base="one", sft="one two", policy="one two three"))
    assert "held-out prompt: system: Go on.\nuser: The film\n" in text
    (policy,) = [line for line in text.splitlines() if line.startswith("policy ") and "one two three" in line]
    assert policy.split()[1:3] == ["+3.00", "+0.00"]
    (gains,) = [line for line in text.splitlines() if line.startswith("words_gain")]
    assert gains.split()[1:] == ["1.000", "1.000"] or gains.count("1.000") == 2


def test_a_measure_that_fails_when_all_is_trained_is_said_and_the_others_stand() -> None:
    view = measured(WORDS, LATE, base="early", sft="late", policy="early")
    assert list(view.measures) == [name for name in view.measures if "words" in name] and view.measures
    assert view.prompts[0][1][1].scores == {"words": 1.0}
    assert "outside measure 'broken_by_late' failed" in shown(view) and "return a number" in " ".join(view.failures)


def test_what_a_measure_says_of_a_service_that_it_asks_is_told_without_its_key() -> None:
    def broken(prompts: Sequence[str], responses: Sequence[Response]) -> list[float]:
        raise FunctionError("words: raised 401 for https://service/score?model=a&api_key=planted")

    view = measure_answers([PROMPT], {"policy": [Response("early", True)]}, {"words": broken})
    assert view.failures == [
        "outside measure 'words' failed: words: raised 401 for https://service/score?model=a&api_key=***"
    ]


def test_a_function_that_is_not_there_is_refused_before_any_work() -> None:
    absent = config({"name": "words", "function": WORDS}, {"name": "own", "function": "not_there:at_all"})
    with pytest.raises(InputError, match=r"field 'outside_measures.1.function': not_there:at_all: not_there cannot be"):
        check_outside_measures(absent)


def test_no_stage_depends_on_a_measure_and_what_a_run_says_does() -> None:
    plain, other = config(), config({"name": "words", "function": WORDS})
    stages = ("base", "sft", "reward_model", "judge", "policy", "gates")
    assert [getattr(plain, stage) for stage in stages] == [getattr(other, stage) for stage in stages]
    assert measure_sources(plain) == {}
    assert set(measure_sources(other)) == {"outside_measures.words"}


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        (({"name": "a", "function": WORDS}, {"name": "a", "function": LATE}), "several are called 'a'"),
        (({"name": "gold", "function": WORDS},), "'gold' would name two figures"),
        (({"name": "a_gain", "function": WORDS},), "'a_gain' would name two figures"),
    ],
)
def test_names_that_would_name_two_figures_are_refused(measures: tuple[dict[str, str], ...], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        config(*measures)


def test_what_is_maximised_is_not_outside() -> None:
    reward = {"terms": [{"kind": "python", "name": "long", "function": WORDS}]}
    with pytest.raises(ValidationError, match=r"'words' is .*:words, which policy.reward maximises as 'long'"):
        config({"name": "words", "function": WORDS}, policy={"reward": reward})
