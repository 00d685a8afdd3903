"""The folder of a studio."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorastyle.errors import BadFile
from lorastyle.jobs.store import Jobs
from lorastyle.jobs.tasks import Limits as JobLimits
from lorastyle.workspace.area import Area
from lorastyle.workspace.bases import checked_base, family_titles, geometry, shared_bases
from lorastyle.workspace.names import user_name
from lorastyle.workspace.settings import Limits, StudioSettings


class Workspace:
    """A studio's folder, for any number of people, threads and processes at once.

    settings.toml                          see StudioSettings
    jobs.sqlite, jobs/ID/                  everybody's jobs
    users/NAME/area.sqlite                 what is known of a person's datasets and adapters
    users/NAME/datasets/ID/, library/ID/   their images and adapter files
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().resolve()
        self._lock = threading.Lock()
        self._areas: dict[str, Area] = {}
        self.jobs = Jobs(self.root, lambda: _for_jobs(self.settings.limits))

    @property
    def settings(self) -> StudioSettings:
        """As they stand in settings.toml now."""
        return StudioSettings.read(self.root / "settings.toml")

    def save_settings(self, changes: Mapping[str, Any]) -> StudioSettings:
        """Change settings, a limit as `limits.<name>`; raises BadInput where one cannot be used."""
        with self._lock:
            changed = self.settings.changed(changes)
            for folder in changed.model_folders:
                _require_folder(folder, self.root)
            checked_base(changed.default_base, changed.model_folders)
            changed.write(self.root / "settings.toml")
        return changed

    def area(self, user: str = "me") -> Area:
        """What a person has; raises BadInput where nobody can be called that."""
        name = user_name(user)
        with self._lock:
            if name not in self._areas:
                self._areas[name] = Area(name, self.root / "users" / name, self.jobs, lambda: self.settings)
            return self._areas[name]

    def bases(self) -> list[str]:
        """The bases that everybody can choose by name: those that ship with lorastyle, then those in the allowed
        folders. :meth:`Area.bases` has those that a person merged too."""
        return shared_bases(self.settings.model_folders)

    def families(self) -> dict[str, str]:
        """The families of bases: their titles by name."""
        return family_titles()

    def geometry(self, base: str) -> tuple[int, int]:
        """(resolution, divisor) of a base: the pixels that it draws at, and what sides of pictures are multiples of."""
        return geometry(checked_base(base, self.settings.model_folders))


def _for_jobs(limits: Limits) -> JobLimits:
    names = ("steps", "rank", "resolution", "prompt_characters", "pictures", "queued")
    return JobLimits(**{name: getattr(limits, name) for name in names})


def _require_folder(folder: str, root: Path) -> None:
    path = Path(folder)
    if not path.is_absolute() or not path.is_dir():
        raise BadFile(folder, "there is no such folder", "give the whole path of a folder that is there")
    path = path.resolve()
    if path.is_relative_to(root) or root.is_relative_to(path):  # what people have would be bases for everybody
        raise BadFile(folder, "the studio's own folder lies there", "give a folder with models in another place")
