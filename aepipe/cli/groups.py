"""Groups of commands in the help, by task."""

from typer import Typer

GROUPS = {
    "Set up": ("init", "convert", "inspect", "contract", "doctor"),
    "Learn": ("train", "calibrate", "evaluate"),
    "Score": ("score", "run", "backfill", "publish"),
    "Sample": ("sample", "impute", "recommend", "traverse", "augment"),
    "Look": ("report", "explain", "drift", "top"),
    "Operate": (
        "models",
        "export",
        "promote",
        "rollback",
        "alert",
        "feedback",
        "deploy",
        "forget",
        "quarantine",
        "verify",
        "sign",
    ),
}
"""Commands by task, in the order of a first project."""

EXAMPLES = {
    "Set up": "aepipe init warehouse/orders --name orders",
    "Learn": "aepipe train job.toml",
    "Score": "aepipe score job.toml",
    "Sample": "aepipe sample job.toml --rows 1000 --where \"kind = 'boot'\"",
    "Look": "aepipe explain job.toml 4711",
    "Operate": "aepipe promote job.toml --dry-run",
}
"""One call per task, for the end of the help."""


def examples() -> str:
    """Return the examples as paragraphs of the help."""
    return "\n\n".join(f"{title}: [bold]{example}[/bold]" for title, example in EXAMPLES.items())


def group_commands(app: Typer) -> None:
    """Sort the commands of the help by task; a command without a group comes last."""
    order = {name: (title, place) for place, (title, name) in enumerate((t, n) for t, ns in GROUPS.items() for n in ns)}
    for command in app.registered_commands:
        if command.callback is not None and command.callback.__name__ in order:
            command.rich_help_panel, _ = order[command.callback.__name__]
    app.registered_commands.sort(
        key=lambda command: order.get(command.callback.__name__ if command.callback else "", ("", len(order)))[1]
    )
