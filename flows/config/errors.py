"""The error that people can mend."""

from flows.config.redaction import redact


class InputError(Exception):
    """Bad configuration or input; the message names the place and the mend, and holds no secret. Exit code 2.

    Attributes:
        looks: commands that show more of what is wrong, each with a word on what they show.
    """

    looks: tuple[str, ...] = ()

    def __init__(self, *said: object) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in said))
