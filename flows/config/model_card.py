"""What people say of their models themselves."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from flows.config.folders import plain_path
from rlhf_core.config import Frozen


class ModelCardConfig(Frozen):
    """What people add to the model cards that are made of records; no result depends on it."""

    words: Annotated[Path, AfterValidator(plain_path)] | None = None
    """Markdown file with what no record can say: what the models are for, who made them, what they must not do. Above
    it may stand YAML between lines of `---`, such as `license: apache-2.0` or `language: en`, which the cards take
    over. Relative to the working directory, or absolute; null: nobody has said anything."""
