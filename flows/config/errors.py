"""The error that people can mend."""


class InputError(Exception):
    """Bad configuration or input; the message names the place and the mend. Exit code 2."""
