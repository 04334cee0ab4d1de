"""The contract of prompts: what the policy answers."""

from data_contracts.schemas.rules import Rule, not_repeated, prompt_rules, text_rules

RULES: tuple[Rule, ...] = (*prompt_rules(), *text_rules("group"))

SET_RULES: tuple[Rule, ...] = (not_repeated(("prompt",), "remove the copy"),)
