"""What logs and errors do not show."""

import sys
import warnings
from pathlib import Path

import pytest

from lorastyle.jobs.redaction import Redaction
from lorastyle.jobs.worker.log import logged, logger


@pytest.fixture
def redact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Redaction:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretword")
    monkeypatch.setenv("MY_PASSWORD", "tell nobody")
    monkeypatch.setenv("SHORT_TOKEN", "the")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/maria"))
    return Redaction(tmp_path / "studio" / "jobs" / "abc", tmp_path / "studio")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("{root}/studio/jobs/abc/run/x.png is broken", "run/x.png is broken"),
        ("{root}/studio/users/ana: no", "users/ana: no"),
        ("/home/maria/images/cat.png", "~/images/cat.png"),
        ("cd /home/maria", "cd ~/"),
        ("/media/maria/photos", "/media/(user)/photos"),
        ("/home/mariana/x", "/home/mariana/x"),
        ("token hf_verysecretword!", "token (hidden)!"),
        ("hf_anotheronethatlooksright", "(hidden)"),
        ("https://ana:pass@hub.example/x", "https://(hidden)@hub.example/x"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer (hidden)"),
        ("tell nobody of the cat", "(hidden) of the cat"),
        ("nothing to hide here", "nothing to hide here"),
    ],
)
def test_places_and_secrets_are_hidden(tmp_path: Path, redact: Redaction, said: str, shown: str) -> None:
    assert redact(said.format(root=tmp_path)) == shown


def test_a_log_has_all_that_is_said_line_by_line(tmp_path: Path, redact: Redaction) -> None:
    log = tmp_path / "log.txt"
    with logged(log, redact):
        print("printed in", "/home/maria/x")
        print("10%\r50%\r100%", file=sys.stderr)
        logger.info("noted")
        warnings.warn("not one of ours", UserWarning, stacklevel=1)
        print("never ended", end="")
    printed, bar, noted, ended = log.read_text(encoding="utf-8").splitlines()
    assert (printed, bar, ended) == ("printed in ~/x", "100%", "never ended")
    assert noted.endswith("  noted")
    print("outside")
    assert "outside" not in log.read_text(encoding="utf-8")
