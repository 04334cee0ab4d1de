"""Libraries in Rust that give up: their panics are no exceptions of Python's usual kinds, and nobody expects them."""

from collections.abc import Iterator
from contextlib import contextmanager


class PanickedError(RuntimeError):
    """A library in Rust gave up; its words are in one line."""


@contextmanager
def no_panic() -> Iterator[None]:
    """Make an error that is expected of a panic inside.

    Raises:
        PanickedError: if a library gives up.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a class that is made anew in each library, and has no other name
            raise
        raise PanickedError(" ".join(str(error).split())) from None


def given_up(tokenizer: str, text: str, error: PanickedError) -> ValueError:
    """What is said of a text that a tokenizer gives up on."""
    return ValueError(
        f"the tokenizer of {tokenizer} gives up on the text that ends {text[-60:]!r} ({error}): correct the patterns "
        "in its tokenizer.json, or leave such texts out"
    )
