"""bertcli completion: print the script with which a shell completes commands."""

import click

from bertcli.cli.options import Command

EXAMPLES = """
eval "$(bertcli completion bash)"      # in ~/.bashrc
eval "$(bertcli completion zsh)"       # in ~/.zshrc
bertcli completion fish > ~/.config/fish/completions/bertcli.fish
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, as it stands in completions/."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None  # one of the Choice above
    # ShellComplete.source would start bash to ask its version; the script itself needs no such check here.
    script = complete(ctx.find_root().command, {}, "bertcli", "_BERTCLI_COMPLETE")
    click.echo(script.source_template % script.source_vars())
