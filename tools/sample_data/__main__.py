"""Build `sample_data/` from the pinned npm packages of `tools.pocket.packages`.

    python -m tools.sample_data

The pictures and captions are committed; this is how they came about. It overwrites what lies there.
"""

import argparse
from pathlib import Path

from tools.sample_data import inks, peeps
from tools.sample_data.folder import Folder


def build(target: Path) -> list[Folder]:
    """Write the three folders under `target` and return what they hold."""
    folders = [inks.training(), inks.unseen(), peeps.figure()]
    for folder in folders:
        folder.write(target)
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("sample_data"))
    for folder in build(parser.parse_args().out):
        print(f"{folder.name}: {len(folder.entries)} drawings")


if __name__ == "__main__":
    main()
