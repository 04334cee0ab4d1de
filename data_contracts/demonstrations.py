"""The contract of demonstrations: what supervised fine-tuning may learn from."""

from data_contracts.records import COLUMNS
from data_contracts.rules import Rule, groups_disjoint, schema, text_rules

RULES: tuple[Rule, ...] = (
    *text_rules("prompt"),
    *text_rules("response"),
    *text_rules("group"),
    *text_rules("source"),
    groups_disjoint(),
)
SCHEMA = schema(COLUMNS["demonstrations"], RULES)
