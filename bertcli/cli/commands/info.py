"""bertcli info: what runs here, what bertcli chooses, and whether it computes right."""

from dataclasses import dataclass

from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages
from bertcli.errors import BertcliError, Exit
from bertcli.inference import Request

EXAMPLES = """
bertcli info
bertcli info -m DIR --device cuda
bertcli info -m DIR --format json | jq -r .choice.reason
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Info(shared.PrintOptions, Request):
    """The options of `bertcli info`."""


@command("model task output_format backend device threads precision exit calibrate", EXAMPLES)
def info(messages: Messages, options: Info) -> int:
    """Show versions, devices, the choice of backend and precision with its reason, and the model's facts.

    One batched and one single forward on the chosen device are compared with the CPU; the exit code is 1 where they
    differ by more than 0.001.
    """
    from bertcli.inference.measure import BOUND, check, describe
    from bertcli.inference.session import open_session
    from bertcli.tasks.options import Options

    session = open_session(options, Options())
    batched, single = check(session, options)
    passed = batched <= BOUND and single <= BOUND  # NaN is not
    differences = {"batched": batched, "single": single, "at most": BOUND, "passed": passed}
    facts = {**describe(session), "check": differences}
    options.show([facts], facts, "bertcli")
    if not passed:
        raise BertcliError(
            f"{session.device.type} differs from the CPU by {batched:.2g} in a batch and "
            f"{single:.2g} alone (at most {BOUND}); use --device cpu."
        )
    return Exit.OK
