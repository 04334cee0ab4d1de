"""The lengths at which prompts and responses are cut."""

from typing import NamedTuple


class Lengths(NamedTuple):
    """Tokens that are kept at most.

    Attributes:
        max_prompt_tokens: of a prompt, from its end.
        max_response_tokens: of a response, from its start, end-of-sequence included.
    """

    max_prompt_tokens: int
    max_response_tokens: int
