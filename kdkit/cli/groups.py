"""Groups of commands, which name their commands where one is asked for that they do not have."""

from __future__ import annotations

import rich_click as click


class Group(click.RichGroup):
    """A verb with commands of its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run; one that is not there is answered with a near one, else with all."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            said = error.format_message()
            if "Did you mean" in said:
                raise
            raise click.UsageError(f"{said} The commands are {', '.join(self.list_commands(ctx))}.", ctx) from error
