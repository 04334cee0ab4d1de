"""The functions of outside measures, tried before a climb and known by their source."""

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from rlhf_core.rewards.functions import FunctionError, source_digest, try_out

FIELD = "outside_measures"


def check_outside_measures(config: LadderConfig) -> None:
    """Try the functions of the outside measures on a few responses.

    Raises:
        InputError: naming the field and the mend.
    """
    for index, measure in enumerate(config.outside_measures):
        try:
            try_out(measure.function)
            source_digest(measure.function)
        except FunctionError as error:
            raise InputError(f"field '{FIELD}.{index}.function': {error}") from None


def measure_sources(config: LadderConfig) -> dict[str, str]:
    """Digest of the source of each outside measure, by name; no stage depends on them, but what a run says does."""
    return {f"{FIELD}.{measure.name}": source_digest(measure.function) for measure in config.outside_measures}
