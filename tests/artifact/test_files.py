import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artifact.files import ArtifactError, inside, sha256_of, write_atomic


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.json"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert [found.name for found in path.parent.iterdir()] == ["file.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writer = (
        "import sys; from pathlib import Path; from pipeline.artifact.files import write_atomic\n"
        "n = 0\nwhile True:\n    n += 1; write_atomic(Path(sys.argv[1]), str(n % 10) * 300_000)"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", writer, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.15)
        process.kill()
        process.wait()
        text = path.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1


@pytest.mark.parametrize("relative", ["/etc/passwd", "../secret", "a/../../b", "", "a\\b", "a\0b"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(ArtifactError, match="leaves its folder"):
        inside(tmp_path, relative)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("/etc")
    with pytest.raises(ArtifactError, match="link that leads out"):
        inside(tmp_path / "folder", "link/passwd")


def test_the_checksum_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
