"""Rules that score a response by its text and length. Free of torch, so that a configuration is tried at once."""

import json
import re
from collections.abc import Callable

from rlhf_core.config.reward import ContainsConfig, FormatConfig, LengthConfig, RegexConfig, RuleConfig

RewardRule = Callable[[str, int], float]
"""Of the text of a response, without special tokens, and its tokens, the end-of-sequence token included."""

SENTENCE_END = re.compile(r"""[.!?\u2026\u3002\uff01\uff1f]["'\u201d\u2019\u00bb)\]]*\s*\Z""")
"""Marks that end a sentence, in Latin and Chinese script, then closing quotes and brackets."""


def rule_of(config: RuleConfig) -> RewardRule:
    """The rule that a term describes."""
    match config:
        case ContainsConfig():
            return _contains(config)
        case RegexConfig():
            return _regex(config)
        case LengthConfig():
            return lambda _, tokens: -float(max(0, tokens - config.target))
        case FormatConfig():
            return lambda text, _: float(_has_form(text, config))


def _contains(config: ContainsConfig) -> RewardRule:
    if config.case_sensitive:
        return lambda text, _: float(any(string in text for string in config.strings))
    folded = [string.casefold() for string in config.strings]
    return lambda text, _: float(any(string in text.casefold() for string in folded))


def _regex(config: RegexConfig) -> RewardRule:
    pattern = re.compile(config.pattern)
    if config.measure == "count":
        return lambda text, _: float(sum(1 for _ in pattern.finditer(text)))
    return lambda text, _: float(pattern.search(text) is not None)


def _has_form(text: str, config: FormatConfig) -> bool:
    lines = sum(bool(line.strip()) for line in text.splitlines())
    return (
        (not config.valid_json or _is_json(text))
        and (not config.ends_with_punctuation or SENTENCE_END.search(text) is not None)
        and (config.max_lines is None or lines <= config.max_lines)
    )


def _is_json(text: str) -> bool:
    """Whether a text is a JSON object or array; NaN and Infinity, which Python would take, are none."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict | list)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
