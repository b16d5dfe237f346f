"""`vagus decide`: a group of commands; a first word that is none of them is an arm to draw from."""

from __future__ import annotations

import difflib

import click

from vagus.cli.lazy import Entry, LazyGroup

ENTRIES = (
    Entry("draw", "vagus.cli.decide_draw:draw", "Ask for an arm; `vagus decide ARM...` is the same.", "Decide"),
    Entry("log", "vagus.cli.decide_log:log", "Decisions with their propensities, and what became of them.", "Evidence"),
    Entry("evaluate", "vagus.cli.decide_evaluate:evaluate", "What another policy would have earned.", "Evidence"),
    Entry("explain", "vagus.cli.decide_explain:explain", "Why a group decides as it does.", "Evidence"),
)


class DrawGroup(LazyGroup):
    """Anything that begins with none of the commands is `draw` with it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `draw` before arms, and before options of its own."""
        if args and args[0] not in self.entries and args[0] not in ctx.help_option_names:
            meant = difflib.get_close_matches(args[0], self.entries, n=1, cutoff=0.7)
            if meant and (len(args) == 1 or args[1].startswith("-")):  # one arm is no choice: a slip of the hand
                raise click.UsageError(
                    f"there is no command {args[0]!r}; did you mean `vagus decide {meant[0]}`? "
                    f"An arm of that name is drawn by `vagus decide draw {args[0]}`.",
                    ctx,
                )
            args = ["draw", *args]
        return super().parse_args(ctx, args)


@click.group("decide", cls=DrawGroup, entries=ENTRIES)
def decide() -> None:
    """Ask the decision service for an arm, and see what it does: its log, why, and what other policies would earn.

    A first word that is no command is an arm: `vagus decide cdn-a cdn-b` is `vagus decide draw cdn-a cdn-b`.

    \b
    Examples:
      vagus decide cdn-a cdn-b cdn-c --feature city=Bern --feature isp=10
      vagus decide log --since 10m
      vagus decide evaluate --policy auto,ucb,uniform,static:cdn-a --since 24h
      vagus decide explain -f isp=10
    """
