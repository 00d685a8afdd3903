"""The page that teaches, in four steps: images come in, are reviewed, what to learn is chosen, and it is watched.

images.py  review.py  choose.py  watch.py   a step each        address.py   what is open, in the page's address
form.py  estimate.py  trigger.py  bases.py   behind choose.py  progress.py  behind watch.py
"""

from typing import Any

import gradio as gr
from gradio.context import Context

from lorastyle import Workspace
from ui.answers import told
from ui.pages.train import address, estimate
from ui.pages.train.choose import Choose, choose, looks as choice_looks, start
from ui.pages.train.chosen import Chosen
from ui.pages.train.images import drop, shelf
from ui.pages.train.review import review
from ui.pages.train.watch import Watch, looks as watch_looks, watch
from ui.session import area
from ui.widgets.choices import bases_of
from ui.widgets.drawn import drawn
from ui.widgets.events import QUIET

KEPT = 20  # datasets, the choice for which a browser remembers
HEADS = {
    "images": "# Teach it your images\nTen to a hundred pictures of one style, one figure or one thing are enough.",
    "review": "# Look at what it will see\nThe bright part of each picture is trained. Say in the caption what is to "
    "be seen, and leave out what is to be learnt; `[trigger]` stands for the trigger word.",
    "choose": "# Choose what to learn\nEverything has a suggestion that works; change what you know better.",
    "watch": "# Watch it learn\nYou can close this page: no training needs it, and the address brings you back.",
}


def page(workspace: Workspace) -> None:
    """Build the page; which dataset, training and step are open is in the address."""
    data, job, at = (gr.Textbox(visible=False, label=label) for label in ("Dataset", "Training", "Step"))
    strip = drawn("steps", address.Place().strip())
    missing = gr.HTML(visible=False, elem_classes="plain", apply_default_css=False)
    head = gr.Markdown(HEADS["images"], elem_classes="head")
    kept = gr.BrowserState({}, storage_key="lorastyle-choice", secret="lorastyle")
    columns = {}
    with gr.Column() as columns["images"]:
        zone = drop(workspace)
        on = gr.Button("Review them", variant="primary", visible=False, elem_id="to-review")
        others = shelf()
    with gr.Column(visible=False) as columns["review"]:
        cards = review(workspace)
        choose_next = gr.Button("Choose what to learn", variant="primary", elem_id="to-choose")
    with gr.Column(visible=False) as columns["choose"]:
        chosen = choose(workspace, data)
    with gr.Column(visible=False) as columns["watch"]:
        watched = watch(workspace, job)
    frame = [data, job, at, strip, missing, head, *columns.values(), zone, on, choose_next, others, cards]
    steps = _Steps(workspace, frame, chosen, watched, kept)
    steps.events(zone, on, others, choose_next)
    steps.counting(cards, on, choose_next)
    steps.keeping()


class _Steps:
    """Going from step to step."""

    def __init__(
        self, workspace: Workspace, frame: list[Any], chosen: Choose, watched: Watch, kept: gr.BrowserState
    ) -> None:
        self.workspace = workspace
        self.data, self.job, self.at, self.strip = frame[:4]
        self.chosen = chosen
        self.kept = kept
        self.fields = [chosen.base, chosen.purpose, chosen.trigger, chosen.title]
        measured = chosen.estimate.shown
        self.shown = [*frame, *self.fields, *chosen.shown, *measured, *watched.shown, watched.clock, watched.seen]

    def events(self, zone: gr.HTML, on: gr.Button, others: gr.HTML, choose_next: gr.Button) -> None:
        def open_page(kept: Any, request: gr.Request) -> list[Any]:
            data, job, step = (str(request.query_params.get(name, "")) for name in ("data", "job", "step"))
            return self.go(data, job, step, kept, request)

        def added(event: gr.EventData, job: str, kept: Any, request: gr.Request) -> list[Any]:
            return self.go(str(event._data["data"]), job, "images", kept, request)

        def open_dataset(event: gr.EventData, kept: Any, request: gr.Request) -> list[Any]:
            return self.go(str(event._data["data"]), "", "review", kept, request)

        def delete_dataset(event: gr.EventData, data: str, kept: Any, request: gr.Request) -> list[Any]:
            id = str(event._data["data"])
            area(request).dataset(id).delete()
            return self.go("" if id == data else data, "", "images", kept, request)

        def rename_dataset(event: gr.EventData, data: str, job: str, kept: Any, request: gr.Request) -> list[Any]:
            area(request).dataset(str(event._data["data"])).rename(str(event._data["title"]))
            return self.go(data, job, "images", kept, request)

        def step(event: gr.EventData, data: str, job: str, kept: Any, request: gr.Request) -> list[Any]:
            return self.go(data, job, str(event._data["step"]), kept, request)

        def train(
            data: str, base: str, purpose: str, trigger: str, settings: Any, title: str, request: gr.Request
        ) -> str:
            """Queue the training that was chosen; returns its id."""
            chosen = Chosen.on_page(self.workspace, area(request), data, base, purpose, trigger, settings)
            return start(chosen, title).id

        # `gr.on(None, ...)` would run at each change of its inputs too, and what is kept changes with every choice.
        assert Context.root_block is not None, "a page is built inside Blocks"
        load = Context.root_block.load(told(open_page), [self.kept], self.shown, queue=False, **QUIET)
        self._then_address(load, address.OPENED)
        context = [self.data, self.job, self.kept]
        self._then_address(zone.added(told(added), [self.job, self.kept], self.shown, **QUIET))
        self._then_address(others.open(told(open_dataset), [self.kept], self.shown, **QUIET))
        self._then_address(others.delete(told(delete_dataset), [self.data, self.kept], self.shown, **QUIET))
        self._then_address(others.rename(told(rename_dataset), context, self.shown, **QUIET))
        self._then_address(self.strip.go(told(step), context, self.shown, **QUIET))
        for button, to in ((on, "review"), (choose_next, "choose")):
            self._then_address(button.click(told(self._to(to)), context, self.shown, **QUIET))
        decided = [self.data, *self.chosen.decided, self.chosen.title]
        queued = self.chosen.go.click(told(train), decided, [self.job], api_name="train", show_progress="hidden")
        self._then_address(queued.success(told(self._to("watch")), context, self.shown, **QUIET))

    def counting(self, cards: gr.HTML, on: gr.Button, choose_next: gr.Button) -> None:
        """Images go and come back in the review, and the page counts them."""

        def count(data: str, job: str, at: str, request: gr.Request) -> list[Any]:
            place = address.Place.of(self.workspace, area(request), data, job, at)
            return [place.strip(), gr.Button(visible=place.reviewable), gr.Button(visible=place.count > 0)]

        here = [self.data, self.job, self.at]
        cards.counted(count, here, [self.strip, on, choose_next], trigger_mode="always_last", **QUIET)

    def keeping(self) -> None:
        """Remember in this browser what is chosen for a dataset."""

        def keep(
            kept: Any, data: str, at: str, base: str, purpose: str, trigger: str, settings: Any, title: str,
            request: gr.Request,
        ) -> Any:  # fmt: skip
            place = address.Place.of(self.workspace, area(request), data, "", at)
            own = settings.get("set", {}) if isinstance(settings, dict) else {}
            choice = {"base": base, "purpose": purpose, "trigger": trigger, "set": own, "title": title}
            if place.step != "choose" or choice == self._kept_for(place, kept):
                return gr.skip()  # the page itself filled the fields
            others = {id: kept[id] for id in kept if id != data} if isinstance(kept, dict) else {}
            return dict([*others.items(), (data, choice)][-KEPT:])

        fields = [self.kept, self.data, self.at, *self.chosen.decided, self.chosen.title]
        changes = [*self.chosen.changes, self.chosen.title.change]
        gr.on(changes, keep, fields, [self.kept], trigger_mode="always_last", **QUIET)
        self.chosen.imported.success(keep, fields, [self.kept], **QUIET)

    def _kept_for(self, place: address.Place, kept: Any) -> dict[str, Any]:
        """What was chosen for the dataset in this browser, and what is usual where nothing was."""
        usual = {"base": self.workspace.settings.default_base, "purpose": "style", "trigger": "", "set": {}}
        chosen = kept.get(place.data) if isinstance(kept, dict) else None
        given = {name: value for name, value in chosen.items() if value} if isinstance(chosen, dict) else {}
        return usual | {"title": place.title} | given

    def _to(self, step: str) -> Any:
        def go(data: str, job: str, kept: Any, request: gr.Request) -> list[Any]:
            return self.go(data, job, step, kept, request)

        return go

    def _then_address(self, event: Any, script: str = address.WENT) -> None:
        event.success(None, [self.data, self.job, self.at], None, js=script, **QUIET)

    def go(self, data: str, job: str, step: str, kept: Any, request: gr.Request) -> list[Any]:
        """Everything on the page for one dataset, training and step; what is not there any more is left out."""
        mine = area(request)
        place = address.Place.of(self.workspace, mine, data, job, step)
        missing = place.missing(data, job)
        kept = self._kept_for(place, kept)
        base, purpose, trigger = (str(kept[name]) for name in ("base", "purpose", "trigger"))
        chosen = Chosen.on_page(self.workspace, mine, place.data, base, purpose, trigger, kept)
        looks = choice_looks(chosen) if place.step == "choose" else [gr.skip()] * 3
        cards = {"data": place.data, "base": base, "trigger": trigger} if place.step == "review" else {}
        return [
            place.data,
            place.job,
            place.step,
            place.strip(),
            gr.HTML(f'<p class="note" role="status">{missing}</p>', visible=bool(missing)),
            HEADS[place.step],
            *(gr.Column(visible=place.step == name) for name in HEADS),
            {"data": place.data, "title": place.title},
            gr.Button(visible=place.reviewable),
            gr.Button(visible=place.count > 0),
            address.shelf(mine) if place.step == "images" else gr.skip(),
            cards,
            gr.Dropdown(bases_of(self.workspace, here=mine), value=base),
            purpose,
            trigger,
            str(kept["title"]),
            *looks,
            *estimate.none(),
            *watch_looks(self.workspace, mine.user, place.job if place.step == "watch" else "", {}),
        ]
