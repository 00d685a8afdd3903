"""The settings of a studio, and the limits that everybody in it keeps."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorastyle import files
from lorastyle.errors import BadFile, BadInput
from lorastyle.settings import Precision

GIB = 2**30

# What to do where a person's disk quota is used up.
MAKE_ROOM = "delete datasets, finished jobs or adapters that you do not need, and empty the bin"


def _limit(default: int, unit: str, help: str, most: int | None = None) -> Any:
    return Field(default=default, ge=1, le=most, description=help, json_schema_extra={"unit": unit})


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


class Limits(_Table):
    """What one person may ask for at most. All are published in the studio's settings.

    They are kept when something is added or asked for; what is left to a base or to the number of images is known, and
    refused, when its job begins. `disk_bytes` decides what may be added or begun: no job ends by what it writes.
    """

    # fmt: off
    upload_bytes: int = _limit(GIB, "bytes", "The largest file that can be added.")
    archive_entries: int = _limit(10_000, "entries", "The most files in a zip.")
    unpacked_bytes: int = _limit(4 * GIB, "bytes", "The most that a zip may hold when it is unpacked.")
    pixels: int = _limit(50_000_000, "pixels", "The largest image, width times height.", most=100_000_000)
    dataset_files: int = _limit(5_000, "images", "The most images in a dataset.")
    caption_characters: int = _limit(4_000, "characters", "The longest caption.")
    steps: int = _limit(100_000, "steps", "The longest training.")
    rank: int = _limit(512, "dimensions", "The highest rank of an adapter.")
    resolution: int = _limit(2_048, "pixels", "The highest resolution to train or draw at.")
    prompt_characters: int = _limit(2_000, "characters", "The longest prompt.")
    pictures: int = _limit(256, "pictures", "The most pictures drawn by one job.")
    queued: int = _limit(100, "jobs", "The most jobs of one person that wait.")
    disk_bytes: int = _limit(50 * GIB, "bytes", "What one person's datasets, trainings and adapters may take together.")
    # fmt: on


class StudioSettings(_Table):
    """The settings of a studio; immutable. `changed` makes another."""

    language: Literal["en"] = Field(default="en", description="The language of the studio.")
    theme: Literal["system", "light", "dark"] = Field(default="system", description="Dark, light, or as the system is.")
    default_base: Annotated[str, Field(min_length=1)] = Field(
        default="pocket", description="The base that is chosen for a new training."
    )
    precision: Precision = Field(
        default="fp32",
        description="The numbers that a base is held in while it draws. bf16 takes half the memory, and suits recent "
        "graphics cards.",
    )
    model_folders: list[str] = Field(
        default=[], description="Folders that bases may be taken from, besides the hub and what ships with lorastyle."
    )
    limits: Limits = Limits()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings in a TOML file, the defaults where there is none; raises BadFile, BadInput."""
        if not path.exists():
            return cls()
        try:
            return cls()._with(tomllib.loads(files.read_text(path)))
        except tomllib.TOMLDecodeError as error:
            raise BadFile(str(path), f"is not valid TOML ({error})", "correct it there, or delete it") from error

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These settings with some replaced; a limit is named `limits.<name>`. Raises BadInput."""
        tables = self.model_dump(exclude_unset=True)
        for name, value in changes.items():
            table, _, field = name.rpartition(".")
            place = tables.setdefault(table, {}) if table else tables
            place[field] = value
        return self._with(tables)

    def write(self, path: Path) -> None:
        """Write what differs from the defaults as TOML."""
        files.write_text(path, tomli_w.dumps(self.model_dump(exclude_defaults=True)))

    def _with(self, tables: Mapping[str, Any]) -> Self:
        try:
            return type(self)(**tables)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["settings", *map(str, first["loc"])])
            unknown = first["type"] == "extra_forbidden"
            what = "there is no such setting" if unknown else f"{first['input']!r} cannot be used"
            raise BadInput(where, what, "remove it" if unknown else _wanted(dict(first))) from None


def _wanted(error: Mapping[str, Any]) -> str:
    """What to give in place of what pydantic refused, in plain words."""
    match error:
        case {"type": "greater_than_equal", "ctx": {"ge": least}}:
            return f"give at least {least:,}"
        case {"type": "less_than_equal", "ctx": {"le": most}}:
            return f"give at most {most:,}"
        case {"type": "int_type" | "int_from_float"}:
            return "give a whole number"
        case {"type": "literal_error", "ctx": {"expected": names}}:
            return f"choose {names}"
    return str(error["msg"])
