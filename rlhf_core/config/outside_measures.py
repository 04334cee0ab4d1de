"""Outside measures: Python functions that say for people what answers are worth."""

from pydantic import Field, field_validator

from rlhf_core.config import Frozen
from rlhf_core.config.reward import FUNCTION, NAME


class OutsideMeasureConfig(Frozen):
    """A Python function of prompts and responses that nothing is trained on, chosen by or stopped by.

    Base, SFT model and policy answer the same held-out prompts, and what the function says of the answers stands in the
    summary and with the run. So it tells whether reward model and judge, which learned from the same people, are fooled
    by the same answers.
    """

    name: str = Field(pattern=NAME)
    """Its figures are called `<stage>_<name>`."""
    function: str = Field(pattern=FUNCTION)
    """`package.module:function`, as of a reward term of kind `python`: finite numbers for texts, more is better."""
    version: str = ""
    """To be changed when the function's results change and its source does not, as with another word list."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == "gold" or name.endswith(("_gain", "_win_rate")):
            raise ValueError(f"'{name}' would name two figures; take another than gold, *_gain and *_win_rate")
        return name
