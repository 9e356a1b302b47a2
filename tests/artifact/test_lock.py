import os
import subprocess
import sys
from pathlib import Path

from pipeline.artifact.lock import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.artifact.lock import exclusive
with exclusive(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def hold(results: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(results), name, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_holder_frees_its_lock_at_once(tmp_path: Path) -> None:
    with hold(tmp_path, "train/demo", 60) as process:
        process.kill()
        process.wait()
        with exclusive(tmp_path, "train/demo"):
            (lock,) = (tmp_path / ".locks").iterdir()
            assert lock.read_text() == f"{os.getpid()} on {os.uname().nodename}"


def test_a_waiting_process_says_for_whom(tmp_path: Path, capsys) -> None:
    with hold(tmp_path, "train/demo", 0.3) as process:
        with exclusive(tmp_path, "train/demo"):
            pass
        said = capsys.readouterr().err
        assert said == (
            f"train/demo: process {process.pid} on {os.uname().nodename} is making it; waiting for that one\n"
        )


def test_artifacts_of_other_names_do_not_wait(tmp_path: Path, capsys) -> None:
    with hold(tmp_path, "tokens/wiki/0000", 60) as process:
        with exclusive(tmp_path, "tokens/wiki/0001"), exclusive(tmp_path, "tokens/wiki"):
            pass
        assert capsys.readouterr().err == ""
        process.kill()
