"""Decoding token by token with the trainer's own forward pass, eagerly or by recorded CUDA graphs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rlhf_core.data.batching import similar_batches
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.attention import next_states, ragged_states
from rlhf_core.models.kv_cache import FixedKVCache, KVCache, Memory, power_of_two
from rlhf_core.models.logits import logits_of
from rlhf_core.models.padding import StockCache
from rlhf_core.models.rotary import check_positions
from rlhf_core.models.trunk import way_of


class DrawRequest(NamedTuple):
    """What an engine draws.

    Attributes:
        prompts: B lists of token ids.
        chance: a number from [0, 1) for each prompt and each of the R tokens of the longest possible response, shape
            ``[B, R]``, float64.
        stops: ids that end a response, at least one.
        temperature: divides the logits; 0 takes the likeliest token.
        max_tokens: prompt tokens read at once.
    """

    prompts: Sequence[list[int]]
    chance: Tensor
    stops: Sequence[int]
    temperature: float
    max_tokens: int

    @property
    def max_response_tokens(self) -> int:
        """Tokens of the longest possible response."""
        return self.chance.shape[1]

    def take(self, rows: Sequence[int]) -> "DrawRequest":
        """The request for some of the prompts alone."""
        return self._replace(prompts=[self.prompts[row] for row in rows], chance=self.chance[list(rows)])


class Draw(NamedTuple):
    """Ids of a sampled response, up to the first that ends it, and the log-probability of each in nats."""

    ids: list[int]
    logprobs: list[float]


Engine = Callable[[PreTrainedModel, DrawRequest], list[Draw]]
"""Draws a response for each prompt of a request, in their order, from a model that `choose_way` prepared."""


SMALLEST = 8
"""Sequences that a recorded step has at least: fewer are not faster."""


WARM_UP = 2
"""Steps taken before one is recorded, in which libraries choose their kernels and take what memory they need."""


_MEMORY: WeakKeyDictionary[PreTrainedModel, Memory] = WeakKeyDictionary()
"""Where the keys and values of a model lie for as long as it lives: recorded graphs know addresses."""


class Recording(NamedTuple):
    """A step as a graph of CUDA, with the tensors that it reads from and writes to.

    It reads the weights where they lie, so it follows their training.

    Attributes:
        graph: replayed without a call from Python for each of its kernels.
        tokens: newest token of each sequence, shape ``[B]``, int64.
        chance: a number for each sequence, shape ``[B]``, float64.
        next_tokens: the next tokens, shape ``[B]``, int64.
        logprobs: of these, shape ``[B]``, float32, nats.
    """

    graph: torch.cuda.CUDAGraph
    tokens: Tensor
    chance: Tensor
    next_tokens: Tensor
    logprobs: Tensor


class DecodingLoop(NamedTuple):
    """How steps of decoding are taken.

    Attributes:
        step: of model, newest tokens, chance, cache and temperature: the next tokens and their log-probabilities.
        cache: of model, lengths of the prompts and tokens that may follow: where keys and values are kept.
        size: with how many sequences a step is taken for so many unfinished ones.
        look_every: steps until it is seen which sequences have ended.
    """

    step: Callable[[PreTrainedModel, Tensor, Tensor, KVCache, float], tuple[Tensor, Tensor]]
    cache: Callable[[PreTrainedModel, list[int], int], KVCache]
    size: Callable[[int], int]
    look_every: int


def draw_eagerly(model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """The `Engine` that computes nothing in vain: a sequence leaves as soon as it ends."""

    def cache(model: PreTrainedModel, lengths: list[int], room: int) -> KVCache:
        return KVCache(lengths, room, model.device)

    return _draw(DecodingLoop(_step, cache, size=int, look_every=1), model, request)


def draw_by_graphs(model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """The `Engine` whose step is recorded as a graph of CUDA and replayed; elsewhere steps are taken as they are.

    It draws what `draw_eagerly` draws. All sizes are powers of two, so that few graphs are recorded: one for each
    number of sequences and tokens per sequence. Sequences that have ended stay until they are half of all, which is
    looked up every 16 steps, because looking waits for the device.
    """
    memory = _MEMORY.setdefault(model, Memory())
    memory.read(model.parameters())

    def cache(model: PreTrainedModel, lengths: list[int], room: int) -> KVCache:
        return FixedKVCache(lengths, room, model.device, memory)

    def size(count: int) -> int:
        return max(power_of_two(count), SMALLEST)

    return _draw(DecodingLoop(_step_of(model.device.type), cache, size, look_every=16), model, request)


def _draw(loop: DecodingLoop, model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """Prompts of similar length are drawn from together."""
    draws: dict[int, Draw] = {}
    longest = max(map(len, request.prompts), default=0) + request.max_response_tokens
    check_positions(model.config, longest)
    for rows in similar_batches([len(prompt) for prompt in request.prompts], request.max_tokens):
        batch = request.take(rows)
        drawn = _draw_batch(loop, model, batch) if way_of(model).rows else _draw_in_step(model, batch)
        draws |= zip(rows, drawn, strict=True)
    return [draws[row] for row in range(len(request.prompts))]


def _draw_in_step(model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """A stock model needs no padding here, for the sequences of a batch always have equally many tokens.

    Those whose prompt has not ended take the next token of it, the others draw one.
    """
    lengths = torch.tensor([len(prompt) for prompt in request.prompts], device=model.device)
    prompts = [torch.tensor(prompt, device=model.device) for prompt in request.prompts]
    ids = functional.pad(pad_sequence(prompts, batch_first=True), (0, request.max_response_tokens))
    nats = torch.zeros(ids.shape, device=model.device)
    chance, ends = request.chance.to(model.device), ids.new_tensor(request.stops)
    cache = StockCache(model, kept=way_of(model).cached)
    going = torch.ones_like(lengths, dtype=torch.bool)
    for position in range(int(lengths.min()), ids.shape[1]):
        number = (position - lengths).clamp(min=0, max=request.max_response_tokens - 1)
        states = cache.states(ids[:, :position])
        tokens, logprobs = _next(model, states, chance.gather(1, number[:, None])[:, 0], request.temperature)
        drawing = going & (position >= lengths)
        ids[drawing, position], nats[drawing, position] = tokens[drawing], logprobs[drawing]
        going &= ~drawing | (~torch.isin(tokens, ends) & (position - lengths + 1 < request.max_response_tokens))
        if not going.any():
            break
    return [
        _cut(response[length:], values[length:], request)
        for response, values, length in zip(ids.tolist(), nats.tolist(), lengths.tolist(), strict=True)
    ]


def _cut(ids: list[int], nats: list[float], request: DrawRequest) -> Draw:
    """A response up to the first token that ends it."""
    limit = request.max_response_tokens
    length = next((place + 1 for place, token in enumerate(ids[:limit]) if token in request.stops), limit)
    return Draw(ids[:length], nats[:length])


def _draw_batch(loop: DecodingLoop, model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """The first sequences of a step are those of `rows`; those after them repeat some, and their draws are lost."""
    prompts, temperature, limit = request.prompts, request.temperature, request.max_response_tokens
    chance = request.chance.T.contiguous().to(model.device)
    cache = loop.cache(model, [len(prompt) for prompt in prompts], limit)
    row = lay([Tree(prompt, []) for prompt in prompts], model.device)
    states = ragged_states(model, row, cache)[cache.lengths.cumsum(0) - 1]
    tokens, logprobs = _next(model, states, chance[0], temperature)
    ends = tokens.new_tensor(request.stops)
    ids = tokens.new_full((len(prompts), limit), request.stops[0])
    nats = logprobs.new_zeros((len(prompts), limit))
    rows = torch.arange(len(prompts), device=model.device)
    for number in range(limit):
        ids[rows, number], nats[rows, number] = tokens[: len(rows)], logprobs[: len(rows)]
        if number + 1 == limit:
            break
        if number % loop.look_every == 0:
            going = torch.isin(ids[rows, : number + 1], ends, invert=True).all(dim=1).nonzero().squeeze(-1)
            if len(going) == 0:
                break
            size = loop.size(len(going))
            if size != len(tokens):
                members = going[torch.arange(size, device=going.device) % len(going)]
                cache.keep(members)
                rows, tokens, chance = rows[going], tokens[members], chance[:, members]
        tokens, logprobs = loop.step(model, tokens, chance[number + 1], cache, temperature)
    return [_cut(response, values, request) for response, values in zip(ids.tolist(), nats.tolist(), strict=True)]


def _step(
    model: PreTrainedModel, tokens: Tensor, chance: Tensor, cache: KVCache, temperature: float
) -> tuple[Tensor, Tensor]:
    return _next(model, next_states(model, tokens, cache), chance, temperature)


def _step_of(kind: str) -> Callable[..., tuple[Tensor, Tensor]]:
    return _replayed if kind == "cuda" else _step


def _replayed(
    model: PreTrainedModel, tokens: Tensor, chance: Tensor, cache: KVCache, temperature: float
) -> tuple[Tensor, Tensor]:
    """`_step` by its graph, which is recorded when a cache of such a shape comes for the first time."""
    recordings = _MEMORY[model].recordings
    key = (cache.shapes, temperature, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
    if key not in recordings:
        recordings[key] = _record(model, tokens, chance, cache, temperature)
    step: Recording = recordings[key]
    step.tokens.copy_(tokens)
    step.chance.copy_(chance)
    step.graph.replay()
    return step.next_tokens.clone(), step.logprobs.clone()  # the next replay writes over them


def _record(model: PreTrainedModel, tokens: Tensor, chance: Tensor, cache: KVCache, temperature: float) -> Recording:
    """Record a step; what its warm-up writes to the cache is what the first replay will write there.

    Weights that autocast has cast outside would be gone when the graph is replayed, so it casts them itself.
    """
    tokens, chance, lengths = tokens.clone(), chance.clone(), cache.lengths.clone()
    aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                _step(model, tokens, chance, cache, temperature)
                cache.lengths.copy_(lengths)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            next_tokens, logprobs = _step(model, tokens, chance, cache, temperature)
    return Recording(graph, tokens, chance, next_tokens, logprobs)


def _next(model: PreTrainedModel, states: Tensor, chance: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a token after each of B final states, shape ``[B, D]``; with its log-probability, float32."""
    logits = at_temperature(logits_of(model, states), temperature)
    return invert(torch.log_softmax(logits, dim=-1), chance)


def at_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a temperature; at 0 all but the likeliest token are impossible, of several the first.

    Where there is none, as logits are not finite, what comes out is none either.
    """
    if temperature > 0:
        return logits / temperature
    best = logits.amax(dim=-1, keepdim=True)
    return torch.full_like(logits, -torch.inf).scatter(-1, logits.argmax(dim=-1, keepdim=True), best - best)


def invert(distribution: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a token from each of B rows of log-probabilities by inverting its distribution function at `chance`, [B]."""
    cumulative = distribution.exp().cumsum(dim=-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, chance[:, None] * cumulative[:, -1:], right=True)
    tokens.clamp_(max=distribution.shape[1] - 1)  # past it where there are no probabilities, as `sample` tells
    return tokens.squeeze(-1), distribution.gather(1, tokens).squeeze(-1)
