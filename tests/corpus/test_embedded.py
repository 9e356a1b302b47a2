"""The embedded sample: real text of the environment, the same every time."""

import gzip
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.corpus.docstrings import module_text
from pipeline.corpus.embedded import DOMAINS, write_domain
from pipeline.corpus.package_texts import licences, wording
from pipeline.corpus.packages import distributions
from pipeline.corpus.records import BadRecords, read_documents
from pipeline.corpus.standard_library import modules
from pipeline.settings.corpus import EMBEDDED_SHARES

TEXT_BYTES = 300_000

SOURCE = '''
"""About the module."""

class Shape:
    """A shape.

    It has an area.
    """

    def area(self, unit, *rest, scale=1, **more):
        """How large it is."""

    def _copy(self):
        return 1

def twin():
    """How large it is."""
'''


def texts(path: Path) -> list[str]:
    return [document.text for document in read_documents(path, BadRecords())]


def test_the_settings_and_the_sample_name_the_same_domains():
    assert set(DOMAINS) == set(EMBEDDED_SHARES)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_real_text_up_to_its_cap_and_no_document_twice(tmp_path, domain):
    path = tmp_path / "a.json.gz"
    write_domain(path, domain, TEXT_BYTES)
    found = texts(path)
    size = sum(len(text.encode()) for text in found)
    assert 0.8 * TEXT_BYTES < size <= TEXT_BYTES
    assert len(set(found)) == len(found) >= 10
    assert all(text.strip() for text in found)


@pytest.mark.parametrize("domain", DOMAINS)
def test_two_runs_give_the_same_bytes_whatever_the_hash_seed(tmp_path, domain):
    program = "import sys; from pathlib import Path; from pipeline.corpus.embedded import write_domain; "
    program += "write_domain(Path(sys.argv[1]), sys.argv[2], 60_000)"
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, tmp_path / seed, domain], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_documents_are_in_the_schema_of_dolma_with_their_origin(tmp_path):
    path = tmp_path / "a.json.gz"
    versions = write_domain(path, "docstrings", TEXT_BYTES)
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert all(set(record) == {"id", "text", "source", "added", "created", "metadata"} for record in records)
    assert len({record["id"] for record in records}) == len(records)
    assert {record["source"] for record in records} == {"docstrings"}
    assert {record["metadata"]["package"] for record in records} == set(versions)
    assert versions["numpy"] == version("numpy")
    assert not any(sys.prefix in record["metadata"]["path"] for record in records)


def test_every_package_gives_some_of_the_docstrings(tmp_path):
    assert {"python", "numpy", "pandas", "torch", "transformers"} <= set(
        write_domain(tmp_path / "a", "docstrings", 2_000_000)
    )


def test_no_module_is_in_two_domains():
    assert not set(modules(for_docstrings=True)) & set(modules(for_docstrings=False))
    assert modules(for_docstrings=True)


def test_docstrings_become_prose_under_headings_each_once():
    text = module_text(SOURCE, "shapes", seen=set())
    assert text == (
        "shapes\n\nAbout the module.\n\n\n"
        "shapes.Shape\n\nA shape.\n\nIt has an area.\n\n\n"
        "shapes.Shape.area(unit, *rest, scale, **more)\n\nHow large it is.\n\n\n"
    )


def test_source_that_does_not_parse_gives_no_text():
    assert module_text("def (:", "broken", seen=set()) == ""


def test_licences_that_differ_only_in_the_holder_are_given_once():
    found = [wording(text.text) for text in licences()]
    assert len(set(found)) == len(found) > 20
    terms = "Permission is hereby granted, free of charge, to any person,\nprovided the above copyright notice stays."
    first = f"MIT License\n\nCopyright (c) 2020 A. Person\n\n{terms}"
    second = f"The MIT License (MIT)\n\n(c) 2021 Another\n\n{terms.replace(chr(10), ' ')}\n"
    assert wording(first) == wording(second) != wording(first.replace("granted", "refused"))


def test_only_dependencies_of_the_project_give_text():
    names = set(distributions())
    assert {"torch", "numpy", "pandas", "transformers", "tokenizers"} <= names
    assert not names & {"pytest", "hypothesis", "ruff", "mypy", "pip", "seekmake"}
