"""Rules against cases written by hand, and what a term's configuration refuses."""

import pytest
from pydantic import ValidationError

from rlhf_core.config.reward import ContainsConfig, FormatConfig, LengthConfig, RegexConfig, RewardConfig, RuleConfig
from rlhf_core.rewards.rules import rule_of


def said(config: RuleConfig, text: str, tokens: int = 7) -> float:
    return rule_of(config)(text, tokens)


def contains(*strings: str, case_sensitive: bool = False) -> ContainsConfig:
    return ContainsConfig(name="said", strings=strings, case_sensitive=case_sensitive)


@pytest.mark.parametrize(
    ("config", "text", "expected"),
    [
        (contains("sorry"), "Sorry, no.", 1.0),
        (contains("sorry", case_sensitive=True), "Sorry, no.", 0.0),
        (contains("Sorry", case_sensitive=True), "Sorry, no.", 1.0),
        (contains("no idea", "sorry"), "I have no idea.", 1.0),
        (contains("no idea", "sorry"), "no, an idea", 0.0),
        (contains("STRASSE"), "an der Straße", 1.0),  # case folding, not lower case
        (contains("a.c"), "abc", 0.0),  # strings are no patterns
        (contains("x"), "", 0.0),
    ],
)
def test_strings_are_found(config: ContainsConfig, text: str, expected: float) -> None:
    assert said(config, text) == expected


@pytest.mark.parametrize(
    ("pattern", "measure", "text", "expected"),
    [
        (r"\d+", "presence", "room 101, floor 3", 1.0),
        (r"\d+", "count", "room 101, floor 3", 2.0),
        (r"aa", "count", "aaaaa", 2.0),  # without overlap
        (r"^- ", "count", "- one\n- two", 1.0),
        (r"(?m)^- ", "count", "- one\n- two", 2.0),
        (r"\d", "presence", "none", 0.0),
        (r"\d", "count", "", 0.0),
    ],
)
def test_patterns_are_found_and_counted(pattern: str, measure: str, text: str, expected: float) -> None:
    assert said(RegexConfig(name="found", pattern=pattern, measure=measure), text) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "tokens", "expected"), [(0, 5, -5.0), (4, 5, -1.0), (5, 5, 0.0), (9, 5, 0.0), (3, 12, -9.0)]
)
def test_tokens_beyond_the_target_cost(target: int, tokens: int, expected: float) -> None:
    assert said(LengthConfig(name="brevity", target=target), "whatever it says", tokens) == expected


@pytest.mark.parametrize(
    ("asked", "text", "expected"),
    [
        ({"valid_json": True}, '{"a": [1, 2]}', 1.0),
        ({"valid_json": True}, '  ["a"]\n', 1.0),
        ({"valid_json": True}, '"only a string"', 0.0),
        ({"valid_json": True}, "3", 0.0),
        ({"valid_json": True}, '{"a": NaN}', 0.0),
        ({"valid_json": True}, '{"a": 1} as asked', 0.0),
        ({"valid_json": True}, "[" * 100_000, 0.0),
        ({"valid_json": True}, "", 0.0),
        ({"ends_with_punctuation": True}, "It is done.", 1.0),
        ({"ends_with_punctuation": True}, 'He said "why?" ', 1.0),
        ({"ends_with_punctuation": True}, "\u5b8c\u4e86\u3002", 1.0),
        ({"ends_with_punctuation": True}, "It is done", 0.0),
        ({"ends_with_punctuation": True}, "It is. Done,", 0.0),
        ({"ends_with_punctuation": True}, "", 0.0),
        ({"max_lines": 2}, "one\n\ntwo\n", 1.0),
        ({"max_lines": 2}, "one\ntwo\nthree", 0.0),
        ({"max_lines": 2}, "", 1.0),
        ({"max_lines": 1, "ends_with_punctuation": True}, "one.\ntwo.", 0.0),
        ({"max_lines": 1, "ends_with_punctuation": True}, "one", 0.0),
        ({"max_lines": 1, "ends_with_punctuation": True}, "one.", 1.0),
    ],
)
def test_every_form_that_is_asked_for_must_be_there(asked: dict[str, object], text: str, expected: float) -> None:
    assert said(FormatConfig(name="form", **asked), text) == expected  # type: ignore[arg-type]


LENGTH = {"kind": "length", "name": "brevity"}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([LENGTH, LENGTH], "several terms are called 'brevity'"),
        ([{**LENGTH, "name": "score"}], "'score' would name two figures"),
        ([{**LENGTH, "name": "brevity_gain"}], "'brevity_gain' would name two figures"),
        ([{**LENGTH, "name": "Brevity"}], "should match pattern"),
        ([{**LENGTH, "weight": "inf"}], "should be a finite number"),
        ([{**LENGTH, "clip": 0}], "should be greater than 0"),
        ([{"kind": "format", "name": "form"}], "asks for no form; set valid_json"),
        ([{"kind": "regex", "name": "found", "pattern": "("}], "is no regular expression"),
        ([{"kind": "contains", "name": "found", "strings": []}], "at least 1 item"),
        ([{"kind": "contains", "name": "found", "strings": [""]}], "at least 1 character"),
        ([{"kind": "python", "name": "own", "function": "a b:c"}], "should match pattern"),
    ],
)
def test_a_term_that_makes_no_sense_is_refused(terms: list[dict[str, object]], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected.replace("(", r"\(")):
        RewardConfig.model_validate({"terms": terms})


def test_the_default_is_the_reward_model_alone() -> None:
    config = RewardConfig()
    assert (config.model.weight, config.model.normalise, config.model.clip) == (1.0, "none", None)
    assert (config.terms, config.whiten, config.clip) == ((), False, None)
