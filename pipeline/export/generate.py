"""Text from an exported folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from pipeline.artifact.files import ArtifactError
from pipeline.export.load import load_exported
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids


def generate(
    folder: Path, prompt: str, max_new_tokens: int, temperature: float, top_p: float, seed: int
) -> Iterator[str]:
    """Continue a text with the model in `folder`, piece by piece, to its end or for `max_new_tokens`.

    Temperature 0 takes the likeliest token each time; otherwise `top_p` keeps the likeliest tokens that have this share
    of the probability, and `seed` decides among them. Raises ArtifactError if the folder is no exported model, or if
    the prompt leaves no position for a new token.
    """
    model = load_exported(folder)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    end = special_ids(tokenizer).end
    # In training each document follows the end token of the one before: so does the prompt.
    ids = [end, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    room = model.config.max_position_embeddings - len(ids)
    if room < 1:
        raise ArtifactError(
            f"the prompt has {len(ids) - 1} tokens, the model has {model.config.max_position_embeddings} positions;"
            " shorten the prompt"
        )
    pieces = DecodeStream(skip_special_tokens=True)
    sampler = _Sampler(tokenizer.get_vocab_size(), temperature, top_p, seed)
    for token in _tokens(model, ids, min(max_new_tokens, room), sampler):
        if token == end:
            return
        piece = pieces.step(tokenizer, token)
        if piece is not None:  # None while a character's bytes are incomplete
            yield piece


class _Sampler:
    """Chooses a token of the logits [vocab_size]."""

    def __init__(self, known_tokens: int, temperature: float, top_p: float, seed: int) -> None:
        self.known_tokens = known_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.generator = torch.Generator().manual_seed(seed)

    def choose(self, logits: Tensor) -> int:
        known = logits[: self.known_tokens].float().cpu()  # the embedding may have more rows than the tokenizer tokens
        if self.temperature == 0:
            return int(known.argmax())
        shares, tokens = (known / self.temperature).softmax(-1).sort(descending=True)
        before = shares.cumsum(-1) - shares
        shares[1:][before[1:] >= self.top_p] = 0.0  # the likeliest always stays
        return int(tokens[torch.multinomial(shares, 1, generator=self.generator)])


def _tokens(model: Any, ids: list[int], count: int, sampler: _Sampler) -> Iterator[int]:
    past, inputs = None, torch.tensor([ids])
    for _ in range(count):
        with torch.no_grad():
            out = model(inputs, past_key_values=past, use_cache=True, logits_to_keep=1)
        token = sampler.choose(out.logits[0, -1])
        yield token
        past, inputs = out.past_key_values, torch.tensor([[token]])
