"""The templates of `gr.HTML`: no words of people are ever made a part of one.

Gradio fills the `{{names}}` of a template first and then runs what it got as a JavaScript text, so a `${...}` in what
somebody wrote would run. A template here is ours alone, or `${value}`, whose value is put in last and never run.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorastyle import Workspace
from tests.ui.conftest import CODE

WORDS = "${window.lorastyleRan = true} {{value}}"
TEMPLATES = """
import json, sys, gradio as gr
from lorastyle import Workspace
from ui import app, states
with states.one_app():
    pages = app.build(Workspace(sys.argv[1]), with_login=sys.argv[2] == "login")
widgets = [block for block in pages.blocks.values() if isinstance(block, gr.HTML)]
print(json.dumps([part for widget in widgets for part in (widget.html_template, widget.css_template)]))
"""


def templates(root: Path, door: str) -> list[str]:
    """All on all pages; in a process of its own, for Gradio leaves things open."""
    command = [sys.executable, "-c", TEMPLATES, str(root), door]
    done = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=True)
    return [str(template) for template in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def with_login(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a studio in which people have written already."""
    workspace = Workspace(tmp_path_factory.mktemp("studio"))
    workspace.area().new_dataset(WORDS)
    return templates(workspace.root, "login")


def test_templates_take_nothing_but_the_whole_value(with_login: list[str]) -> None:
    assert with_login.count("${value}") > 10
    for template in with_login:
        assert template == "${value}" or not any(mark in template for mark in ("${", "{{", "`")), template[:80]


def test_no_handler_makes_a_template() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (CODE / "ui").rglob("*.py"))
    assert sorted(line.strip() for line in code.splitlines() if "html_template=" in line) == [
        'html_template=part("header.html").replace("@links", links).replace("@leave", LEAVE if with_login else ""),',
        'html_template=part(f"{name}.html"),',
    ]


def test_who_logs_in_can_log_out(with_login: list[str], tmp_path: Path) -> None:
    def leaving(templates: list[str]) -> int:
        return sum('action="./logout"' in template for template in templates)

    assert leaving(with_login) == 6  # pages
    assert leaving(templates(tmp_path, "")) == 0
