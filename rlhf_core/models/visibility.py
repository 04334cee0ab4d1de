"""What a token sees of those before it: the rule of the mask that a stock model asks for, kept until a row needs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformers.masking_utils import causal_mask_function, sdpa_mask

from rlhf_core.data.packing import Row


class Visibility:
    """A mask that is not built yet: `transformers` hands it to each layer, whose attention builds what it needs.

    So windows and chunks hold wherever a model states them, in its mask alone too.

    Args:
        arguments: what `transformers` builds a mask from.

    Attributes:
        reach: up to how many tokens of a sequence all see all that came before; None where no length is known.
    """

    def __init__(self, **arguments: Any) -> None:
        self._rule: Callable[..., Any] = arguments["mask_function"]
        self.reach: int | None = arguments.get("local_size")
        self._build = partial(sdpa_mask, **arguments)
        self._masks: list[Tensor | None] | None = None

    def built(self) -> Tensor | None:
        """The mask for a batch, as `transformers` has it."""
        mask: Tensor | None = self._build()
        return mask

    def hides(self, longest: int) -> bool:
        """Whether some token of a sequence of that many tokens may not see one that came before."""
        return self._rule is not causal_mask_function and (self.reach is None or longest > self.reach)

    def is_window(self, window: int | None, longest: int) -> bool:
        """Whether a window, None for all that came before, says all of this for sequences of that many tokens."""
        return self.reach == window and window is not None if self.hides(longest) else window is None

    def of(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Which keys each query sees, by their positions in one sequence, of shapes that broadcast; bool."""
        visible: Tensor = self._rule(0, 0, queries, keys)
        return visible

    def masks(self, row: Row) -> list[Tensor | None]:
        """For each tree of L tokens who sees whom, shape ``[L, L]``, bool; None where plain causality says it all."""
        if not self.hides(max(row.longest)):
            return row.masks
        if self._masks is None:
            pieces = zip(row.masks, row.positions.split(row.lengths), row.longest, strict=True)
            self._masks = [self._of_tree(*piece) for piece in pieces]
        return self._masks

    def _of_tree(self, mask: Tensor | None, positions: Tensor, longest: int) -> Tensor | None:
        if not self.hides(longest):
            return mask
        visible = self.of(positions[:, None], positions[None, :])
        return visible if mask is None else visible & mask


CAUSAL = Visibility(mask_function=causal_mask_function, batch_size=1, q_length=1, kv_length=1)
"""All that came before."""
