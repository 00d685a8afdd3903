"""python -m lorastyle.jobs.worker --root ROOT: what `lorastyle worker` runs."""

import argparse
from pathlib import Path

from lorastyle.jobs.worker.supervisor import IDLE, run_worker

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--leaves-when-idle", action="store_true")
    options = parser.parse_args()
    run_worker(options.root, IDLE if options.leaves_when_idle else None)
