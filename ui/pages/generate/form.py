"""What to draw: the fields, the jobs that they become, and how they are filled again from an older picture."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lorastyle import Area, BadInput, Card, Job, Workspace, read_parameters
from ui.session import area
from ui.widgets import mixture
from ui.widgets.choices import adapters_of, bases_of
from ui.widgets.mixture import Mixture

MOST_PICTURES = 8  # for one press of the button
HIGHEST_NEW_SEED = 2**31  # short enough to be read out; any seed can be typed in
STEPS = 20
USUAL: dict[str, Any] = {
    "prompt": "", "negative": "", "seed": 0, "steps": STEPS, "guidance": 0, "width": 0, "height": 0, "base": "pocket",
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """The components of the form."""

    prompt: gr.Textbox
    mixture: Mixture
    base: gr.Dropdown
    seed: gr.Number
    keep_seed: gr.Checkbox
    count: gr.Slider
    negative: gr.Textbox
    steps: gr.Slider
    guidance: gr.Number
    width: gr.Number
    height: gr.Number
    draw: gr.Button
    read: gr.UploadButton

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `open` and `refill` have values for."""
        return [self.prompt, self.base, self.seed, self.keep_seed, *self.details, *self.mixture.shown]

    @property
    def details(self) -> list[gr.components.Component]:
        return [self.negative, self.steps, self.guidance, self.width, self.height]

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `draw` gets, in its order."""
        lead = [self.prompt, self.base, self.seed, self.keep_seed, self.count]
        return [*lead, *self.details]


def build(workspace: Workspace) -> Form:
    """Build the fields."""
    most = workspace.settings.limits.prompt_characters
    prompt = gr.Textbox(
        label="What should it show?", lines=3, max_lines=8, max_length=most, placeholder="a cat face, ink style"
    )
    adapters = mixture.mixture("Adapter")
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, info="Draws the same picture again, if it is kept.")
        keep_seed = gr.Checkbox(label="Keep this seed", info="Otherwise each drawing gets a new one.", min_width=140)
    count = gr.Slider(1, MOST_PICTURES, 1, step=1, label="Pictures")
    with gr.Accordion("More", open=False):
        base = gr.Dropdown(
            [], label="Base", info="The model that the adapters were taught on.", allow_custom_value=True
        )
        negative = gr.Textbox(label="Without", info="What the picture should not show.", max_length=most)
        steps = gr.Slider(1, 100, STEPS, step=1, label="Steps", info="More steps take longer; 20 to 30 are usual.")
        # Gradio has no empty number: 0 stands for it, and is none of these.
        guidance = gr.Number(
            0, label="Guidance", minimum=0, info="How closely to follow the words. 0: as suits the base."
        )
        with gr.Row():
            width = gr.Number(0, label="Width", precision=0, minimum=0, info="Pixels. 0: as suits the base.")
            height = gr.Number(0, label="Height", precision=0, minimum=0, info="Pixels. 0: as suits the base.")
    with gr.Row(elem_classes="slim"):
        draw_button = gr.Button("Draw", variant="primary")
        read = gr.UploadButton("Settings of a picture", file_types=[".png"], type="filepath", variant="secondary")
    return Form(
        prompt, adapters, base, seed, keep_seed, count, negative, steps, guidance, width, height, draw_button, read
    )  # fmt: skip


def open(workspace: Workspace, job: Job | None, request: gr.Request) -> list[Any]:
    """Values for `Form.outputs` of a page just opened, whose address may name the `job` that is shown."""
    here = area(request)
    with suppress(BadInput):  # an adapter is gone: the picture is shown all the same, and the form begins anew
        if job and job.task == "generate":
            prompt, base, seed, _, *rest = refill(job, here)
            return [prompt, gr.Dropdown(bases_of(workspace, base, here), value=base), seed, False, *rest]
    return _fresh(workspace, here, request)


def _fresh(workspace: Workspace, here: Area, request: gr.Request) -> list[Any]:
    """The form at first; the address may name an adapter to draw with."""
    wanted = str(request.query_params.get("adapter", ""))
    cards = {card.id: card for card in here.library().cards()}
    chosen = {wanted: cards[wanted].strength} if wanted in cards else {}
    base = cards[wanted].base if wanted in cards else workspace.settings.default_base
    lists, others = gr.Dropdown(bases_of(workspace, base, here), value=base), [gr.skip()] * 6
    return [gr.skip(), lists, _new_seed(), *others, *mixture.fill(chosen, adapters_of(here))]


def base_for(workspace: Workspace, adapter: str, here: Area) -> Any:
    """The value of the base once an adapter was chosen: what it was taught on, if that can be used here."""
    card = next((card for card in here.library().cards() if card.id == adapter), None)
    return card.base if card and card.base in bases_of(workspace, here=here) else gr.skip()


def draw(
    request: gr.Request,
    prompt: str,
    base: str,
    seed: float | None,
    keep_seed: bool,
    pictures: float,
    negative: str,
    steps: float,
    guidance: float | None,
    width: float | None,
    height: float | None,
    **adapters: Any,
) -> list[Any]:
    """Put a job into the queue for each picture; returns their ids and the seed of the first."""
    if not str(prompt or "").strip():
        raise BadInput("the prompt", "it is empty", "describe in a few words what the picture should show")
    first = int(seed or 0) if keep_seed else _new_seed()
    settings = {
        "negative": negative or "",
        "steps": int(steps),
        "guidance": float(guidance) if guidance else None,
        "width": int(width) if width else None,
        "height": int(height) if height else None,
    }
    here, mixed = area(request), mixture.chosen(adapters)
    jobs = [
        here.generate(str(base), [str(prompt).strip()], mixed, seed=first + number, title=_title(prompt), **settings)
        for number in range(int(pictures))
    ]
    return [[job.id for job in jobs], first]


def refill(job: Job, here: Area) -> list[Any]:
    """Values for `Form.outputs` that would draw the picture of this job again."""
    ids = {str(card.path): card.id for card in here.library().cards()}
    asked = job.settings["adapters"]
    gone = [Path(path).stem for path in asked if path not in ids]
    if gone:
        raise _not_there(gone[0])
    return _filled(USUAL | job.settings, job.settings["prompts"][0], {ids[path]: asked[path] for path in asked}, here)


def read(picture: str, here: Area) -> list[Any]:
    """Values for `Form.outputs` that would draw a picture again; raises BadFile where its file does not tell how."""
    told = USUAL | read_parameters(picture)
    cards = here.library().cards()
    asked = {_meant(one, cards).id: float(one["strength"]) for one in told.get("adapters", [])}
    return _filled(told, told["prompt"], asked, here)


def _meant(adapter: Mapping[str, Any], cards: Sequence[Card]) -> Card:
    """The adapter that a picture was drawn with, by the name of its file, and among several of one name by its hash."""
    named = [card for card in cards if card.path.stem == adapter["name"]]
    told = str(adapter.get("hash") or "")
    found = [card for card in named if told and _hash(card.path).startswith(told)] if len(named) > 1 else named
    if not named:
        raise _not_there(str(adapter["name"]))
    if not found:
        what = "several adapters in your library are called so, and it cannot be told which one drew the picture"
        raise BadInput(str(adapter["name"]), what, "choose the adapter and the prompt by hand")
    return found[0]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_there(name: str) -> BadInput:
    what = "this adapter is not in your library, or another checkpoint of its training has taken its place"
    return BadInput(name, what, "take it out of the bin, bring it in, or keep that checkpoint again, first")


def _filled(told: Mapping[str, Any], prompt: str, adapters: Mapping[str, float], here: Area) -> list[Any]:
    """`adapters` are strengths by id in the library."""
    details = [told["negative"], told["steps"], *(told[name] or 0 for name in ("guidance", "width", "height"))]
    # Jobs know a base by where it lies; people are told its name.
    base = next((name for name in here.bases() if here.base(name) == told["base"]), told["base"])
    return [prompt, base, told["seed"], True, *details, *mixture.fill(dict(adapters), adapters_of(here))]


def _title(prompt: str) -> str:
    words = " ".join(str(prompt).split())
    return words if len(words) <= 60 else f"{words[:57]}..."


def _new_seed() -> int:
    return secrets.randbelow(HIGHEST_NEW_SEED)
