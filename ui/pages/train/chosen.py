"""What a person chose for a training, taken from the fields of the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from lorastyle import Area, BadInput, BaseFacts, Draft, Recipe, Workspace
from ui.answers import sentence
from ui.pages.train import bases, form


@dataclass(frozen=True)
class Chosen:
    """Dataset, base, purpose, trigger word, and the settings `own` to the person, as text."""

    workspace: Workspace
    mine: Area
    data: str
    base: str
    purpose: str
    trigger: str
    own: Mapping[str, str]

    @classmethod
    def on_page(
        cls, workspace: Workspace, mine: Area, data: str, base: str, purpose: str, trigger: str, settings: Any
    ) -> Self:
        """From the values of the page's fields; `settings` is that of the form."""
        own = dict(settings.get("set") or {}) if isinstance(settings, dict) else {}
        return cls(workspace, mine, data, str(base or "").strip(), purpose, " ".join(trigger.split()), own)

    @property
    def source(self) -> str:
        """What the base is loaded by, "" where it may not be used here."""
        return self._source[0]

    @property
    def refusal(self) -> str:
        """Why the base may not be used here, in a sentence; "" where it may."""
        return self._source[1]

    @cached_property
    def _source(self) -> tuple[str, str]:
        try:
            return self.mine.base(self.base), ""
        except BadInput as error:
            return "", sentence(error)

    @cached_property
    def facts(self) -> BaseFacts | None:
        return bases.facts(self.workspace, self.source)

    @property
    def draft(self) -> Draft:
        if not self.data:
            raise BadInput("dataset", "there are no images yet", "drop some on the first step")
        return self.mine.dataset(self.data)

    @cached_property
    def captions(self) -> list[str]:
        return [row.caption for row in self.draft.rows()] if self.data else []

    @property
    def choice(self) -> form.Choice:
        return form.Choice(self.base, self.purpose, self.trigger, self.captions)

    def table(self) -> dict[str, Any]:
        """The form's value."""
        return form.table(self.choice, self.facts, self.own)

    def recipe(self) -> Recipe:
        """Raises BadInput where a setting cannot be used."""
        return form.recipe_of(self.choice, self.facts, self.own)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe as a job's settings have it. Raises BadInput too where it, or what the base suggests for what it
        leaves open, is above a limit of the studio."""
        recipe = self.recipe()
        if self.facts is not None:
            self.workspace.jobs.limits.check_recipe(form.resolved(recipe, self.choice, self.facts))
        return recipe.model_dump(mode="json", exclude_unset=True)
