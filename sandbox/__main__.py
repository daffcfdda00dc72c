"""The command line of the embedded cloud: python -m sandbox up|down|open|status|env|stop|start|bucket|clock|reset."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from sandbox.clocks import PARTS as CLOCKS
from sandbox.clocks import SEEN_WITHIN
from sandbox.cloud import Cloud, Profile, Refused, Wishes
from sandbox.disk_space import full, is_full
from sandbox.environment import client_environment, proxy_exceptions, quoted
from sandbox.page import login_address, show
from sandbox.parts import PARTS
from sandbox.processes import ProcessId, process_id
from sandbox.state import DEFAULT_STATE_DIR, StateDir
from sandbox.store.bucket import StoreRefused, Trouble
from sandbox.supervisor import PartFailed

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130
_USABLE = "usable"


def main() -> int:
    options = _parser().parse_args()
    cloud = Cloud(StateDir(options.state_dir))
    try:
        return _VERBS[options.verb](cloud, options)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return refusal.code
    except (PartFailed, StoreRefused) as failure:
        print(failure, file=sys.stderr)
        return EXIT_FAILED
    except ValidationError as error:
        print(
            f"A file in {cloud.state.root} is damaged ({error.title}: {error.errors()[0]['msg']}). "
            f"To forget this cloud and begin anew: {cloud.command('reset')}",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    except OSError as error:
        if is_full(error):
            print(f"{full(cloud.state.root)}. {cloud.full_disk_remedy()}", file=sys.stderr)
        else:
            print(f"The cloud in {cloud.state.root} cannot be handled: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _up(cloud: Cloud, options: argparse.Namespace) -> int:
    wishes = Wishes(
        options.profile,
        options.seed,
        options.control_port,
        options.market_port,
        options.store_port,
        options.console_port,
        options.proxied,
        options.settable_clocks,
    )
    cloud.up(wishes, options.lease, detach=options.detach, say=lambda text: print(text, flush=True))
    return 0


def _down(cloud: Cloud, _: argparse.Namespace) -> int:
    print(f"The cloud in {cloud.state.root} {'is down; its state is kept.' if cloud.down() else 'was not up.'}")
    return 0


def _open(cloud: Cloud, _: argparse.Namespace) -> int:
    running = cloud.standing()
    if running is None or running.phase != "ready":
        raise Refused(f"The cloud in {cloud.state.root} is not up. Start it: {cloud.command('up')}", EXIT_FAILED)
    print(show(login_address(cloud.state.config()), os.environ))
    return 0


def _status(cloud: Cloud, _: argparse.Namespace) -> int:
    from sandbox.status import report  # noqa: PLC0415 - the other commands need not wait for it

    text, up = report(cloud)
    print(text)
    return 0 if up else EXIT_FAILED


def _env(cloud: Cloud, options: argparse.Namespace) -> int:
    if not cloud.state.has_config():
        raise Refused(f"There is no cloud in {cloud.state.root} yet. Start one: {cloud.command('up')}", EXIT_FAILED)
    values = client_environment(cloud.state, cloud.state.config(), cloud.state.secrets()) | proxy_exceptions(os.environ)
    if options.json:
        print(json.dumps(values, indent=1))
    else:
        for name, value in values.items():
            print(f"export {name}={quoted(value)}")
    if cloud.standing() is None:
        print(f"Note: the cloud is down. Start it: {cloud.command('up')}", file=sys.stderr)
    return 0


def _stop(cloud: Cloud, options: argparse.Namespace) -> int:
    stopped = cloud.stop_part(options.part)
    print(f"The {options.part} {'was stopped; the rest of the cloud runs on.' if stopped else 'was stopped already.'}")
    return 0


def _start(cloud: Cloud, options: argparse.Namespace) -> int:
    print(f"The {options.part} {'runs again.' if cloud.start_part(options.part) else 'ran already.'}")
    return 0


def _bucket(cloud: Cloud, options: argparse.Namespace) -> int:
    cloud.trouble_bucket(None if options.state == _USABLE else options.state)
    print(f"The bucket {cloud.state.secrets().b2_bucket} is {options.state}.")
    return 0


def _clock(cloud: Cloud, options: argparse.Namespace) -> int:
    cloud.set_clock(options.part, options.seconds)
    ahead = f"{options.seconds:+g} s from the right time" if options.seconds else "right"
    print(f"The clock of the {options.part} is {ahead} within {SEEN_WITHIN} s.")
    return 0


def _reset(cloud: Cloud, _: argparse.Namespace) -> int:
    done = cloud.reset()
    print(
        f"{cloud.state.root} {'is empty now: machines, snapshots, bills and keys are gone.' if done else 'was empty.'}"
    )
    return 0


_VERBS: dict[str, Callable[[Cloud, argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "open": _open,
    "status": _status,
    "env": _env,
    "stop": _stop,
    "start": _start,
    "bucket": _bucket,
    "clock": _clock,
    "reset": _reset,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A whole GPU cloud on this machine: marketplace, machines, store, control.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(_VERBS))
    up = verbs.add_parser("up", help="start the cloud and stay in the foreground until Ctrl-C")
    up.add_argument("--detach", action="store_true", help="return as soon as all parts answer; it runs on")
    up.add_argument("--profile", choices=get_args(Profile), help="how long things take (default: instant)")
    up.add_argument("--seed", type=int, help="which offers there are (default: as in the last run, 1 at first)")
    up.add_argument("--control-port", type=_port, metavar="PORT", help="default: 8766 if free, else any")
    up.add_argument("--console-port", type=_port, metavar="PORT", help="the page; default: 4890 if free, else any")
    up.add_argument("--market-port", type=_port, metavar="PORT", help="default: any free one")
    up.add_argument("--store-port", type=_port, metavar="PORT", help="default: any free one")
    up.add_argument(
        "--proxied",
        action="store_true",
        help="let what the parts, the machines and their users say to each other pass a network that can be made slow, "
        "narrow and broken: TOXIPROXY_URL of `env` speaks the HTTP API of Toxiproxy",
    )
    up.add_argument(
        "--settable-clocks",
        action="store_true",
        help="let the dates of parts be set by `clock` (Debian's package faketime)",
    )
    up.add_argument(
        "--lease",
        type=_process,
        metavar="PID",
        help="the process that needs the cloud: it stops by itself when no such process is left",
    )
    verbs.add_parser("down", help="stop the cloud; its state is kept")
    verbs.add_parser("open", help="show the page in your browser, logged in; print its address if there is no display")
    verbs.add_parser("status", help="what runs, what is rented, what it costs; exit code 1 when it is not all up")
    env = verbs.add_parser("env", help="print the addresses and credentials as export lines for a shell")
    env.add_argument("--json", action="store_true", help="as a JSON object")
    for verb, does in (("stop", "stop one part while the others run on"), ("start", "start such a part again")):
        verbs.add_parser(verb, help=does).add_argument("part", choices=PARTS)
    bucket = verbs.add_parser("bucket", help="make the bucket of the snapshots read-only or full, or usable again")
    bucket.add_argument("state", choices=(*get_args(Trouble), _USABLE))
    clock = verbs.add_parser("clock", help="set the date of a part that believes it")
    clock.add_argument("part", choices=CLOCKS)
    clock.add_argument("seconds", type=float, help="how far it is ahead of the right time; 0 makes it right")
    verbs.add_parser("reset", help="forget everything: machines, snapshots, bills, keys. The cloud must be down")
    for one in verbs.choices.values():
        one.add_argument(
            "--state-dir", type=Path, default=DEFAULT_STATE_DIR, metavar="DIR", help="where the cloud keeps everything"
        )
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: a number from 1 to 65535")
    return int(text)


def _process(text: str) -> ProcessId:
    process = process_id(int(text)) if text.isdigit() else None
    if process is None:
        raise argparse.ArgumentTypeError(f"there is no process {text}")
    return process


if __name__ == "__main__":
    sys.exit(main())
