"""The folder of a studio."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorastyle.errors import BadFile
from lorastyle.jobs.store import Jobs
from lorastyle.jobs.tasks import Limits as JobLimits
from lorastyle.workspace.area import Area
from lorastyle.workspace.bases import bases_in, checked_base, embedded_bases, geometry
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
        self.jobs = Jobs(self.root, _for_jobs(self.settings.limits))

    @property
    def settings(self) -> StudioSettings:
        """As they stand in settings.toml now."""
        return StudioSettings.read(self.root / "settings.toml")

    def save_settings(self, changes: Mapping[str, Any]) -> StudioSettings:
        """Change settings, a limit as `limits.<name>`; raises BadInput where one cannot be used."""
        with self._lock:
            changed = self.settings.changed(changes)
            for folder in changed.model_folders:
                _require_folder(folder)
            checked_base(changed.default_base, changed.model_folders)
            changed.write(self.root / "settings.toml")
            self.jobs.limits = _for_jobs(changed.limits)
        return changed

    def area(self, user: str = "me") -> Area:
        """What a person has; raises BadInput where nobody can be called that."""
        name = user_name(user)
        with self._lock:
            if name not in self._areas:
                self._areas[name] = Area(name, self.root / "users" / name, self.jobs, lambda: self.settings)
            return self._areas[name]

    def bases(self) -> list[str]:
        """The bases that can be chosen by name: those that ship with lorastyle, then those in the allowed folders."""
        return list(dict.fromkeys([*embedded_bases(), *bases_in(self.settings.model_folders)]))

    def geometry(self, base: str) -> tuple[int, int]:
        """(resolution, divisor) of a base: the pixels that it draws at, and what sides of pictures are multiples of."""
        return geometry(base, self.settings.model_folders)


def _for_jobs(limits: Limits) -> JobLimits:
    names = ("steps", "rank", "resolution", "prompt_characters", "pictures", "queued")
    return JobLimits(**{name: getattr(limits, name) for name in names})


def _require_folder(folder: str) -> None:
    if not Path(folder).is_absolute() or not Path(folder).is_dir():
        raise BadFile(folder, "there is no such folder", "give the whole path of a folder that is there")
