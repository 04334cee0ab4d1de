"""What is asked of the model: to go on where a sentence of a review begins."""

from typing import Any

INSTRUCTION = "Continue the movie review."
"""The system's turn. Without one the template of SmolLM2 writes a longer turn of its own, 24 tokens in every row."""


def ask(opening: str) -> list[dict[str, Any]]:
    """The prompt for the first words of a sentence."""
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": opening}]
