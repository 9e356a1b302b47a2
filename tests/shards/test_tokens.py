import shutil

import numpy as np
import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.shards.array import write_array
from pipeline.shards.tokens import check_tokenizer, content_of, open_block


@pytest.fixture
def block(corpus, tmp_path):
    """A copy of a block that a test may damage."""
    shutil.copytree(corpus.tokens[0].folder, tmp_path / "copy")
    return Artifact.open(tmp_path / "copy/manifest.json")


@pytest.mark.parametrize("name", ["tokens", "offsets"])
def test_a_short_or_missing_chunk_is_refused_by_its_name(block, name):
    chunk = block.folder / f"tokens.zarr/train/{name}/c/0"
    chunk.write_bytes(chunk.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=rf"train/{name}/c/0 has \d+ bytes"):
        open_block(block, "train")
    chunk.unlink()
    with pytest.raises(ArtifactError, match=rf"train/{name}/c/0 is missing"):
        open_block(block, "train")


def test_offsets_of_other_tokens_are_refused(lab, block):
    offsets = open_block(block, "train").offsets
    write_array(block.folder / "tokens.zarr/train/offsets", np.append(offsets, offsets[-1] + 1))
    with pytest.raises(ArtifactError, match="the offsets of train do not fit its tokens"):
        open_block(lab.publish(block.folder, block.name), "train")


def test_lengths_count_the_end_token(block):
    opened = open_block(block, "train")
    assert opened.lengths.sum() == len(opened.tokens) + len(opened.offsets) - 1


def test_a_block_of_no_or_another_tokenizer_is_refused(corpus, block):
    with pytest.raises(ArtifactError, match="names 0 inputs 'tokenizer'"):
        content_of(corpus.tokenizer, "tokenizer")
    with pytest.raises(ArtifactError, match="another tokenizer"):
        check_tokenizer(block, "0" * 64, "tokenizer")
