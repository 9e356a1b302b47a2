"""Reading Dolma-format files: what is read, what is counted, what is refused."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.corpus.records import KINDS, BadRecords, Document, read_documents

GOOD = {"id": "a", "text": "Some text.", "source": "web", "metadata": {"n": 1}}


def read(path: Path, **limits: int) -> tuple[list[Document], dict[str, int]]:
    bad = BadRecords()
    documents = list(read_documents(path, bad, **limits))
    return documents, {kind: count for kind, count in bad.counts.items() if count}


def test_documents_come_in_order_with_their_lines(dolma):
    path = dolma("a.json.gz", [GOOD, {"id": "b", "text": "Second.", "created": 5}])
    assert read(path) == ([Document(1, "a", "Some text."), Document(2, "b", "Second.")], {})


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"{ this is not JSON", "not_json"),
        (b'["a", "list"]', "not_json"),
        (b'{"text": "cut off', "not_json"),
        (b'{"text": ' + b"[" * 100_000, "not_json"),
        (b'{"id": "x", "title": "no text here"}', "no_text"),
        (b'{"id": "x", "text": 17}', "text_not_string"),
        (b'{"id": "x", "text": null}', "text_not_string"),
        (b'{"id": "x", "text": ["a"]}', "text_not_string"),
        (b'{"id": "x", "text": ""}', "empty_text"),
        (b'{"id": "x", "text": "caf\xe9"}', "invalid_utf8"),
        (b'{"id": "x", "text": "half a pair: \\ud83d"}', "invalid_utf8"),
        (b'{"id": "x", "text": "' + b"long" * 1000 + b'"}', "line_too_long"),
    ],
)
def test_a_bad_line_is_counted_by_kind_and_the_others_are_read(dolma, line, kind):
    path = dolma("a.json.gz", [GOOD, line, GOOD])
    documents, counts = read(path, max_line_bytes=2000 if kind == "line_too_long" else 1 << 20)
    assert [document.line for document in documents] == [1, 3]
    assert counts == {kind: 1}


@pytest.mark.parametrize(
    ("value", "expected"), [(5, "5"), (2.5, "2.5"), (True, "True"), (["a"], "['a']"), (None, "a.json.gz:1")]
)
def test_an_id_that_is_no_string_becomes_one(dolma, value, expected):
    (document,), _ = read(dolma("a.json.gz", [{"id": value, "text": "t"}]))
    assert document.id == expected


def test_a_missing_id_is_made_from_file_and_line(dolma):
    documents, _ = read(dolma("part-7.json.gz", [GOOD, {"text": "t"}]))
    assert documents[1].id == "part-7.json.gz:2"


def test_valid_documents_in_json_of_other_programs_are_read(dolma):
    lines = [b'\xef\xbb\xbf{"id": "bom", "text": "t"}', b'{"id": "nan", "text": "u", "score": NaN}', b"", b"  ", GOOD]
    documents, counts = read(dolma("a.json.gz", lines))
    assert [(document.line, document.id) for document in documents] == [(1, "bom"), (2, "nan"), (5, "a")]
    assert counts == {}


def test_a_last_line_without_a_line_end_is_read(tmp_path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert len(read(path)[0]) == 1


def test_files_of_several_gzip_members_are_read_whole(dolma, tmp_path):
    path = tmp_path / "two.json.gz"
    path.write_bytes(dolma("a.json.gz", [GOOD]).read_bytes() + dolma("b.json.gz", [GOOD]).read_bytes())
    assert len(read(path)[0]) == 2


def test_a_line_of_64_mib_of_text_is_read(dolma):
    path = dolma("a.json.gz", [b'{"text": "' + b"x" * (64 << 20) + b'"}', GOOD])
    documents, counts = read(path)
    assert [len(document.text) for document in documents] == [64 << 20, 10]
    assert counts == {}


def test_a_line_over_the_limit_is_skipped_without_being_held_in_memory(dolma):
    path = dolma("a.json.gz", [GOOD, b'{"text": "' + b"x" * (64 << 20) + b'"}', GOOD])
    tracemalloc.start()
    documents, counts = read(path, max_line_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [document.line for document in documents] == [1, 3]
    assert counts == {"line_too_long": 1}
    assert peak < 8 << 20


def test_a_truncated_gzip_is_refused_with_its_name(dolma):
    path = dolma("cut.json.gz", [{**GOOD, "id": str(number)} for number in range(1000)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match=r"cut\.json\.gz is a truncated gzip file; fetch it again"):
        read(path)


def test_a_gzip_with_a_flipped_byte_is_refused_with_its_name(dolma):
    path = dolma("flip.json.gz", [{**GOOD, "id": str(number)} for number in range(1000)])
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # in the checksum
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"flip\.json\.gz is not a sound gzip file"):
        read(path)


def test_a_file_that_is_not_gzip_is_refused_with_its_name(tmp_path):
    path = tmp_path / "plain.json.gz"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(ArtifactError, match=r"plain\.json\.gz is not a sound gzip file"):
        read(path)


def test_an_empty_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "nothing.json.gz"
    path.touch()
    with pytest.raises(ArtifactError, match=r"nothing\.json\.gz is empty"):
        read(path)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.json\.gz does not exist"):
        read(tmp_path / "gone.json.gz")


def test_too_many_bad_lines_are_refused_with_the_first_of_them(dolma):
    path = dolma("a.json.gz", [GOOD, b"nonsense", {"id": 1}, GOOD])
    bad = BadRecords()
    documents = len(list(read_documents(path, bad)))
    bad.check(documents, 0.5, "domain web, block 0000")
    with pytest.raises(ArtifactError) as refused:
        bad.check(documents, 0.49, "domain web, block 0000")
    message = str(refused.value)
    assert "domain web, block 0000: 2 of 4 lines are unreadable (not_json 1, no_text 1)" in message
    assert f"{path} line 2: not JSON" in message
    assert "max_bad_fraction" in message


def test_empty_texts_are_counted_but_never_refused(dolma):
    bad = BadRecords()
    documents = len(list(read_documents(dolma("a.json.gz", [{"text": ""}] * 9 + [GOOD]), bad)))
    bad.check(documents, 0.0, "here")
    assert bad.counts["empty_text"] == 9
    assert bad.failed == 0


def test_counts_of_several_files_add_up():
    total, one = BadRecords(), BadRecords()
    for number in range(7):
        one.add("no_text", Path("f"), number, "what")
    total.add_all(one)
    total.add_all(one)
    assert total.counts == dict.fromkeys(KINDS, 0) | {"no_text": 14}
    assert len(total.examples) == 5


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_any_text_comes_back_as_it_was(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "a.json.gz"
    lines = "".join(json.dumps({"text": text}, ensure_ascii=len(text) % 2 == 0) + "\n" for text in texts)
    path.write_bytes(gzip.compress(lines.encode(), 1))
    documents, counts = read(path)
    assert [document.text for document in documents] == texts
    assert counts == {}
