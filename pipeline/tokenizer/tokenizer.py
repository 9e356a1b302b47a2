"""The step `tokenizer`: train one on a sample of the corpus, or take the user's own file."""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.settings.tokenizer import TokenizerStep, TokenizerTraining
from pipeline.tokenizer.encode import encoder
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.sample import Sample, draw_sample
from pipeline.tokenizer.special import special_ids
from pipeline.tokenizer.train import train_tokenizer

FILE = "tokenizer.json"


def tokenizer(settings: TokenizerStep, build: Build) -> dict[str, Any]:
    """Write `tokenizer.json`. Inputs: the role `raw` (downloaded blocks), needed for training only.

    Raises ArtifactError if there is nothing to train on, or if the user's own file cannot be used.
    """
    path = build.folder / FILE
    if settings.training is None:
        counts = _take_own(settings, build, path)
    else:
        counts = _train(settings.vocab_size, settings.training, build, path)
    finished = load_tokenizer(path)
    size = finished.get_vocab_size()
    if size > settings.vocab_size:
        raise ArtifactError(
            f"the tokenizer has {size} tokens, tokenizer.vocab_size allows {settings.vocab_size}; "
            f"set tokenizer.vocab_size to {size}"
        )
    return {"vocabulary": size, "special_ids": special_ids(finished)._asdict()} | counts


def _train(vocab_size: int, training: TokenizerTraining, build: Build, path: Path) -> dict[str, Any]:
    sample = draw_sample(build.inputs.get("raw", ()), training)
    trained = train_tokenizer(sample.texts(), vocab_size)
    trained.save(str(path))
    counts: dict[str, Any] = {
        "sample_digest": sample.digest,
        "sample_asked_bytes": dict(sample.asked_bytes),
        "sample_taken_bytes": sample.taken_bytes,
    }
    size = trained.get_vocab_size()
    if size < vocab_size:
        counts["warning"] = (
            f"the sample holds pairs for {size} tokens only, tokenizer.vocab_size asked for {vocab_size}; "
            "give more text or raise tokenizer.sample_bytes if the whole vocabulary is wanted"
        )
    return counts | _measure(path, sample)


def _measure(path: Path, sample: Sample) -> dict[str, Any]:
    """How many bytes a token stands for on the sample, by domain."""
    encode = encoder(path, [pieces[0] for pieces in sample.pieces.values() if pieces])
    tokens = {name: sum(map(len, encode.encode_batch(pieces))) for name, pieces in sample.pieces.items()}
    taken = sample.taken_bytes
    return {"bytes_per_token": {name: round(taken[name] / count, 4) for name, count in tokens.items() if count}}


def _take_own(settings: TokenizerStep, build: Build, path: Path) -> dict[str, Any]:
    own = Path(build.execution["path"])
    try:
        data = own.read_bytes()
    except OSError as error:
        raise ArtifactError(f"tokenizer.path: {own} cannot be read ({error.strerror}); correct the path") from None
    if hashlib.sha256(data).hexdigest() != settings.own_sha256:
        raise ArtifactError(f"tokenizer.path: {own} was changed after the workflow was planned; run the workflow again")
    path.write_bytes(data)
    return {"own_sha256": settings.own_sha256}
