"""HH-RLHF (Bai et al., 2022): two transcripts per row that share all but the last answer."""

from typing import Any

from data_contracts.readers.rows import Skip, text_of

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def preferences(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The last answers of the two transcripts; one person compared them. Grouped by the opening turn."""
    prompt, chosen = _cut(text_of(row, "chosen"))
    other_prompt, rejected = _cut(text_of(row, "rejected"))
    if prompt != other_prompt:
        raise Skip("the two transcripts differ before the last answer")
    if not chosen or not rejected:
        raise Skip("an answer is empty")
    if chosen == rejected:
        raise Skip("both answers are the same")
    votes = {"votes_chosen": 1, "votes_rejected": 0}
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected, "group": _opening(prompt), **votes}]


def prompts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation up to the last answer."""
    prompt, _ = _cut(text_of(row, "chosen"))
    return [{"prompt": prompt, "group": _opening(prompt)}]


def demonstrations(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The preferred answer, for want of written demonstrations."""
    prompt, chosen = _cut(text_of(row, "chosen"))
    if not chosen:
        raise Skip("an answer is empty")
    return [{"prompt": prompt, "response": chosen, "group": _opening(prompt)}]


def _cut(transcript: str) -> tuple[str, str]:
    prompt, found, answer = transcript.rpartition(ASSISTANT)
    prompt = prompt.removeprefix(HUMAN).strip()
    if not found or not prompt:
        raise Skip("the transcript has no question or no answer")
    if HUMAN in answer:
        raise Skip("the transcript does not end with an answer")
    return prompt, answer.strip()


def _opening(prompt: str) -> str:
    return prompt.partition(ASSISTANT)[0].strip()
