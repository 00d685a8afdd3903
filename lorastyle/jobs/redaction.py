"""What logs and errors may not show: where things lie on this machine, who works on it, and secrets."""

import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
SECRET_FORMS = re.compile(r"\b(hf_|sk-|ghp_|github_pat_)\w{8,}|(?<=[Bb]earer )\S{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
SHORTEST = 6  # a shorter "secret" is a word that texts may hold
HIDDEN = "(hidden)"


class Redaction:
    """Call it with a text; `folders` are those whose insides may be named, but not where they are, innermost first."""

    def __init__(self, *folders: Path) -> None:
        ours = [Path(__file__).parents[2], Path(sys.prefix), Path(sysconfig.get_path("stdlib"))]
        inside = [*folders, *ours, Path(tempfile.gettempdir())]
        self._inside = _folders(inside)
        self._home = _folders([Path.home()])
        self._user = re.compile(rf"(?<=[/\\]){_any_of([Path.home().name]).pattern}(?=[/\\])")
        secrets = [value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST]
        self._secrets = _any_of(secrets)

    def __call__(self, text: str) -> str:
        text = SECRET_FORMS.sub(HIDDEN, self._secrets.sub(HIDDEN, text))
        return self._user.sub("(user)", self._home.sub("~/", self._inside.sub("", text)))


def _folders(folders: list[Path]) -> re.Pattern[str]:
    """Any of the folders, with the slash behind it; not where one is only the beginning of another's name."""
    names = {str(name) for folder in folders for name in (folder, folder.resolve()) if name != name.parent}
    return re.compile(rf"{_any_of(list(names)).pattern}(?:[/\\\\]+|(?![\w.-]))")


def _any_of(words: list[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, words), key=len, reverse=True)
    return re.compile(f"(?:{'|'.join(map(re.escape, longest_first))})" if longest_first else "(?!)")
