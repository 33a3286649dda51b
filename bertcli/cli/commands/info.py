"""bertcli info: what runs here, what bertcli would choose and why, and whether the device computes right."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli info
bertcli info -m DIR --device cuda
bertcli info -m DIR --format json | jq -r .choice.reason
"""


@click.command("info", cls=options.Command, epilog=EXAMPLES)
@options.model
@options.task
@options.report
@options.engine
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Show versions, devices, the choice of backend and precision with its reason, and the model's facts.

    One batched and one single forward on the chosen device are compared with the CPU; the exit code is 1 where they
    differ by more than 0.001.
    """
    from bertcli.cli.measuring import info

    return info(voice, given)
