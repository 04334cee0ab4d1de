"""The key-value cache of sampling: prompts come in as one row without padding, and each sequence grows in place."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from rlhf_core.models.visibility import Visibility


class KVCache(Cache):
    """Keys and values of B sequences, each left-aligned in a row of its own; memory for all tokens is taken once.

    The first forward pass brings the prompts, laid end to end; every later one brings a token for each sequence.

    Args:
        prompt_lengths: tokens of each prompt.
        room: tokens that may follow the longest.
        device: where the model is.
    """

    def __init__(self, prompt_lengths: list[int], room: int, device: torch.device) -> None:
        super().__init__(layers=[])
        self.lengths = torch.tensor(prompt_lengths, device=device)
        """Tokens of each sequence so far, shape ``[B]``."""
        self._longest = max(prompt_lengths)
        self._room = room
        self._states: list[tuple[Tensor, Tensor]] = []
        self._masks: dict[Visibility, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *arguments: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Take the keys and values of a layer, shape ``[1, K, N, D]`` at first, then ``[B, K, 1, D]``.

        Returns:
            What the layer attends to: the same at first, then all sequences up to the longest, ``[B, K, T, D]``.
        """
        if layer_idx == len(self._states):
            self._states.append(
                (self._open(f"keys {layer_idx}", key_states), self._open(f"values {layer_idx}", value_states))
            )
            return key_states, value_states
        keys, values = self._states[layer_idx]
        sequences = torch.arange(len(self.lengths), device=self.lengths.device)
        keys[sequences, :, self.lengths] = key_states[:, :, 0]
        values[sequences, :, self.lengths] = value_states[:, :, 0]
        return self._read(keys), self._read(values)

    def mask(self, visibility: Visibility, dtype: torch.dtype) -> Tensor:
        """What the newest token of a sequence does not see, to be added to its attention, shape ``[B, 1, 1, T]``.

        Args:
            visibility: what it sees of what came before.
            dtype: of the mask.
        """
        if visibility not in self._masks:
            positions = torch.arange(self._read(self._states[0][0]).shape[2], device=self.lengths.device)
            visible = visibility.of(self.lengths[:, None], positions[None, :])
            self._masks[visibility] = torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
                ~visible, -torch.inf
            )[:, None, None]
        return self._masks[visibility]

    def advance(self) -> None:
        """Count the token that every layer has taken."""
        self.lengths = self.lengths + 1
        self._longest += 1
        self._masks.clear()

    def keep(self, sequences: Tensor) -> None:
        """Go on with these sequences, indices of shape ``[b]``, and no others; one may come twice."""
        self.lengths = self._hold("lengths", self.lengths[sequences])
        self._states = [
            (self._hold(f"keys {layer}", keys[sequences]), self._hold(f"values {layer}", values[sequences]))
            for layer, (keys, values) in enumerate(self._states)
        ]
        self._masks.clear()

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of lengths, keys and values."""
        return tuple(states.shape for states in (self.lengths, *(states for layer in self._states for states in layer)))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the longest sequence; positions do not follow from it and are given to the model."""
        return self._longest if self._states else 0

    def _read(self, states: Tensor) -> Tensor:
        return states[:, :, : self._longest + 1]

    def _hold(self, name: str, values: Tensor) -> Tensor:
        return values

    def _open(self, name: str, states: Tensor) -> Tensor:
        """Move the row of prompts into a row for each, shape ``[B, K, L, D]``."""
        lengths = self.lengths
        sequences = torch.repeat_interleave(lengths)
        positions = torch.arange(len(sequences), device=lengths.device) - (lengths.cumsum(0) - lengths)[sequences]
        rows = states.new_zeros(len(lengths), states.shape[1], self._longest + self._room, states.shape[3])
        rows[sequences, :, positions] = states[0].transpose(0, 1)
        return self._hold(name, rows)


class FixedKVCache(KVCache):
    """A cache whose shape and addresses stay the same from one `keep` to the next, for a step that is recorded.

    All of it is read in every step; the tokens that a sequence may have are a power of two.

    Args:
        prompt_lengths: tokens of each prompt.
        room: tokens that may follow the longest.
        device: where the model is.
        memory: where lengths, keys and values are to lie.
    """

    def __init__(self, prompt_lengths: list[int], room: int, device: torch.device, memory: "Memory") -> None:
        longest = max(prompt_lengths)
        super().__init__(prompt_lengths, power_of_two(longest + room) - longest, device)
        self._memory = memory
        self.lengths = self._hold("lengths", self.lengths)

    def advance(self) -> None:
        """Count the token that every layer has taken."""
        self.lengths.add_(1)
        self._masks.clear()

    def _read(self, states: Tensor) -> Tensor:
        return states

    def _hold(self, name: str, values: Tensor) -> Tensor:
        return self._memory.hold(name, values)


class Memory:
    """Named tensors at addresses that stay: each is as large as what it has held.

    Attributes:
        recordings: of steps on these addresses; gone as soon as one of them changes.
    """

    def __init__(self) -> None:
        self.recordings: dict[Any, Any] = {}
        self._blocks: dict[str, Tensor] = {}
        self._weights: list[int] = []

    def read(self, weights: Iterable[Tensor]) -> None:
        """Know where weights lie, which what is recorded reads; gathered ones lie elsewhere every time."""
        addresses = [weight.data_ptr() for weight in weights]
        if addresses != self._weights:
            self._weights = addresses
            self.recordings.clear()

    def hold(self, name: str, values: Tensor) -> Tensor:
        """Copy a tensor to where this name lies."""
        block = self._blocks.get(name)
        if block is None or block.numel() < values.numel() or block.dtype != values.dtype:
            block = self._blocks[name] = torch.empty(values.numel(), dtype=values.dtype, device=values.device)
            self.recordings.clear()
        return block[: values.numel()].view(values.shape).copy_(values)


def power_of_two(count: int) -> int:
    """The smallest power of two that is not below a count."""
    return 1 << (count - 1).bit_length()
