"""Groups of commands in the help, by task."""

from typer import Typer

GROUPS = {
    "Set up": ("init", "convert", "inspect", "doctor"),
    "Learn": ("train", "calibrate", "evaluate"),
    "Score": ("score", "run", "backfill", "publish"),
    "Sample": ("sample", "impute", "traverse", "augment"),
    "Look": ("report", "explain", "drift", "top"),
    "Operate": ("models", "promote", "rollback", "alert", "forget", "verify", "sign"),
}
"""Commands by task, in the order of a first project."""


def group_commands(app: Typer) -> None:
    """Sort the commands of the help by task; a command without a group comes last."""
    order = {name: (title, place) for place, (title, name) in enumerate((t, n) for t, ns in GROUPS.items() for n in ns)}
    for command in app.registered_commands:
        if command.callback is not None and command.callback.__name__ in order:
            command.rich_help_panel, _ = order[command.callback.__name__]
    app.registered_commands.sort(
        key=lambda command: order.get(command.callback.__name__ if command.callback else "", ("", len(order)))[1]
    )
