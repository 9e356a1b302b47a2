"""The domain of a block."""

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import Manifest
from pipeline.corpus.domain import domain_of


def artifact(tmp_path, name):
    empty = {"settings": {}, "code_files": {}, "inputs": (), "files": (), "counts": {}, "cost": {}, "versions": {}}
    return Artifact(tmp_path, Manifest(step="download", name=name, fingerprint="", code="", **empty))


@pytest.mark.parametrize("name", ["raw/wiki/0003", "tokens/wiki/0003"])
def test_a_block_is_of_the_domain_in_its_name(tmp_path, name):
    assert domain_of(artifact(tmp_path, name)) == "wiki"


@pytest.mark.parametrize("name", ["tokenizer", "shards/demo/0000", "raw/wiki", "raw/wiki/0003/more"])
def test_what_is_no_block_of_a_domain_is_refused_by_name(tmp_path, name):
    with pytest.raises(ArtifactError, match=rf"^{name} is no block of a domain"):
        domain_of(artifact(tmp_path, name))
