"""The command line: one file for each group of commands.

Results go to stdout (as JSON with `--json`), everything else to stderr. Exit codes: 0 done; 1 training diverged;
2 the user's input is at fault, said in a sentence; 130 interrupted, state saved. Heavy imports wait for a command
that needs them, so that help is instant.
"""

import gc
import sys
import warnings

import typer

from lorastyle import BadInput, Interrupted, LorastyleError
from lorastyle.cli import (
    adapters,
    bases,
    captioning,
    comparing,
    datasets,
    drawing,
    library,
    queue,
    settings,
    studio,
    training,
    users,
)
from lorastyle.cli.screen import say

app = typer.Typer(
    help="Train art styles and characters for diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (
    training.train,
    training.estimate,
    captioning.caption,
    drawing.generate,
    comparing.grid,
    adapters.inspect,
    adapters.export,
    adapters.import_,
    adapters.merge,
    adapters.mix,
    bases.bases,
    training.demo,
    queue.worker,
    studio.ui,
    settings.settings,
):
    app.command(_command.__name__.rstrip("_"))(_command)
app.add_typer(queue.queue, name="queue")
app.add_typer(datasets.dataset, name="dataset")
app.add_typer(library.library, name="library")
app.add_typer(users.user, name="user")


def program() -> None:
    """The command line as a process of its own, which may start faster than a library lets its host."""
    # Loading torch and diffusers makes objects that stay; looking for garbage among them 1,100 times finds none.
    gc.set_threshold(100_000, 20, 100)
    # diffusers loads peft wherever it finds it, for adapters that it would inject; here lorastyle injects them.
    sys.modules.setdefault("peft", None)  # type: ignore[arg-type]
    main()


def main() -> None:
    """Run the command line; what goes wrong on purpose becomes one sentence and an exit code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module="lorastyle")
            warnings.showwarning = lambda message, *_args, **_more: say(f"Note: {message}")
            app()
    except KeyboardInterrupt:
        say("Interrupted; there was nothing to save yet.")
        sys.exit(130)
    except Interrupted as error:
        say(str(error))
        sys.exit(130)
    except LorastyleError as error:
        say(f"Error: {error}")
        sys.exit(2 if isinstance(error, BadInput) else 1)
