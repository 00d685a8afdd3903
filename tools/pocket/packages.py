"""The npm packages whose drawings and names pocket is made of, fetched by name and pinned version.

`npm pack` writes a tarball; nothing of a package is ever run. The versions are part of the recipe: another
version draws other pictures, and the weights in `lorastyle/bases/pocket` would no longer be what these
tools make.
"""

import functools
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

BUILD = Path(os.environ.get("LORASTYLE_BUILD", "build"))

VERSIONS = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/fluent-emoji-high-contrast": "1.2.6",
    "emojibase-data": "17.0.0",
    "@dicebear/open-peeps": "9.4.3",
}


def fetch(package: str) -> Path:
    """Return the folder of `package`, unpacked once under `build/npm`."""
    folder = BUILD / "npm" / package.replace("/", "__")
    if not (folder / "package" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{package}@{VERSIONS[package]}"]
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


@functools.cache
def read(package: str, name: str) -> Any:
    """Return the JSON file `name` of `package`."""
    return json.loads((fetch(package) / name).read_text(encoding="utf-8"))
