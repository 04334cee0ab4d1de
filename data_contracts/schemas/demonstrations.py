"""The contract of demonstrations: what supervised fine-tuning may learn from."""

from data_contracts.schemas.rules import Rule, not_repeated, prompt_rules, text_rules

RULES: tuple[Rule, ...] = (*prompt_rules(), *text_rules("response"), *text_rules("group"))

SET_RULES: tuple[Rule, ...] = (not_repeated(("prompt", "response"), "remove the copy"),)
