"""`elasticache-iam completion`: what a shell sources to complete commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from elasticache_iam.cli.terminal import write_text
from elasticache_iam.core.errors import ConfigurationError

COMPLETE_VARIABLE: Final = "_ELASTICACHE_IAM_COMPLETE"

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(short_help="Print completions for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what SHELL sources to complete commands and options.

    \b
    bash (4.4 and newer):  source <(elasticache-iam completion bash)      # in ~/.bashrc
    zsh:                   source <(elasticache-iam completion zsh)       # in ~/.zshrc
    fish:                  elasticache-iam completion fish > ~/.config/fish/completions/elasticache-iam.fish
    """  # noqa: D301  # click's mark: keep these lines as they are
    kind = get_completion_class(shell)
    if kind is None:
        raise ConfigurationError(f"no completions for {shell}")
    write_text(kind(context.find_root().command, {}, "elasticache-iam", COMPLETE_VARIABLE).source())
