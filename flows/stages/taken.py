"""A stage that takes a model from elsewhere: its refusals name the field, and what it reads is what was pinned."""

from flows.config.errors import InputError
from flows.config.pretrained import LocalModel, ModelSource, Pretrained
from flows.registry.external_models import content_digest, name_of, refusal
from rlhf_core.training.stage import Stage


def taking(stage: Stage, field: str, source: ModelSource | Pretrained) -> Stage:
    """The stage, whose refusal names the field that is to be mended.

    Raises:
        InputError: if it refuses the model, or the model's files changed after the run had started.
    """
    try:
        result = yield from stage
    except (OSError, ValueError) as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None
    if isinstance(source, LocalModel) and source.digest not in (None, content_digest(source)):
        name = name_of(source)
        raise InputError(f"field '{field}': {name} changed while the run read it; leave it as it is, and run again")
    return result
