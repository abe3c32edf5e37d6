"""`gatekeeper`: exit status 0 done, 1 failed, 2 wrong usage; one clear line on stderr for the latter two."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Final

import click

from gatekeeper import __version__
from gatekeeper.cli import audit, gateway, live, rules, token
from gatekeeper.errors import ConfigError, GatekeeperError

_COMPLETION: Final = "_GATEKEEPER_COMPLETE"
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
"""As the shell reports SIGINT and SIGPIPE."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gatekeeper", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """A Layer-7 gateway for PostgreSQL: tokens in, every statement judged, recorded and masked."""
    if os.environ.get("NO_COLOR"):
        context.color = False


for command in (
    *(gateway.demo, gateway.run, gateway.serve, gateway.console, gateway.replay),
    *(rules.init, rules.check, rules.explain),
    *(live.sessions, live.approvals, live.approve, live.deny, live.grants),
    *(audit.audit, token.token),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status."""
    sys.excepthook = _unforeseen
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command and give its exit status."""
    try:
        if _COMPLETION in os.environ:
            cli.main(arguments, prog_name="gatekeeper", complete_var=_COMPLETION)
        # Not cli.main: it has answers of its own to an interrupt and to a reader that goes away.
        with cli.make_context("gatekeeper", sys.argv[1:] if arguments is None else arguments) as context:
            status = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _failed(error.format_message())
    except ConfigError as error:
        return _failed(*error.problems)
    except GatekeeperError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or type(error).__name__}")
    return status if isinstance(status, int) else 0


def _usage(error: click.UsageError) -> int:
    where = error.ctx.command_path if error.ctx else "gatekeeper"
    message = " ".join(error.format_message().split())
    _say(f"{message.rstrip('.')} (see {where} --help)")
    return 2


def _failed(*lines: str) -> int:
    for line in lines:
        _say(" ".join(line.split()))
    return 1


def _say(line: str) -> None:
    click.echo(f"gatekeeper: {line}", err=True)


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An error of our own: its kind alone, for its text and its locals may hold SQL or a token."""
    if os.environ.get("GATEKEEPER_TRACEBACK"):
        sys.__excepthook__(kind, error, trace)
    else:
        _say(f"stopped by a fault of its own, {kind.__name__}; GATEKEEPER_TRACEBACK=1 shows where")
