"""Outside measures of tests."""

from collections.abc import Sequence


def words(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Words of each response."""
    return [len(response.split()) for response in responses]


def broken_by_late(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Numbers until a response says `late`."""
    return [float("nan") if response == "late" else 0.0 for response in responses]
