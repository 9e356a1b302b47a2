"""What a stage is trained on: its rows, its validation rows, and what the ids in them mean."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.lineage import require_one_lineage
from pipeline.settings.training import TrainStep
from pipeline.shards.rows import Rows, open_validation
from pipeline.shards.tokens import check_tokenizer, content_of
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids


@dataclass(frozen=True)
class Inputs:
    """The inputs of the step `train`, opened and checked."""

    rows: Rows
    """In training order."""
    validation: Mapping[str, np.ndarray]
    """Rows [rows, width] by domain."""
    weights: Mapping[str, float]
    """Each domain's share of the mixture."""
    token_bytes: np.ndarray
    """[vocabulary]: the bytes of text behind each id."""
    pad_id: int


def read_inputs(settings: TrainStep, build: Build) -> Inputs:
    """Open what the stage is trained on. Raises ArtifactError if it does not fit the settings or each other."""
    shards, validation = build.inputs["shards"], build.one("validation")
    _require_one_origin(shards, validation, build.one("tokenizer"))
    rows = _read_rows(settings, shards)
    arrays = {name: open_validation(validation, name) for name in validation.manifest.settings["domains"]}
    tokenizer = load_tokenizer(build.one("tokenizer").path("tokenizer.json"))
    lengths = token_bytes(tokenizer)
    if len(lengths) > settings.model.vocab_size:
        raise ArtifactError(
            f"the tokenizer has {len(lengths)} tokens, but model.vocab_size is {settings.model.vocab_size}; "
            f"write at least {len(lengths)}"
        )
    return Inputs(rows, arrays, build.execution["weights"], lengths, special_ids(tokenizer).pad)


def _require_one_origin(shards: tuple[Artifact, ...], validation: Artifact, tokenizer: Artifact) -> None:
    """Raise ArtifactError unless all rows are of this tokenizer and the same tokens, the shards of one mixture."""
    for artifact in (*shards, validation):
        check_tokenizer(artifact, tokenizer.manifest.content, tokenizer.name)
    first = content_of(shards[0], "mixture")
    for block in shards:
        if content_of(block, "mixture") != first:
            raise ArtifactError(
                f"{block.name} was packed of another mixture than {shards[0].name}; run the workflow again so that all "
                "shards of the stage are of one"
            )
    require_one_lineage((*shards, validation, tokenizer))


def _read_rows(settings: TrainStep, shards: tuple[Artifact, ...]) -> Rows:
    rows = Rows(shards)
    width = settings.seq_len + 1 + settings.model.mtp_depth
    needed = settings.training.rows(settings.seq_len)
    if rows.width != width or len(rows) != needed:
        raise ArtifactError(
            f"the shards hold {len(rows)} rows of {rows.width} tokens, this stage needs {needed} of {width}; "
            "run the workflow again so that they are packed for it"
        )
    return rows
