"""What the experiment found, as JSON for programs and as a page for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from sandbox.sabotage.saboteur import Saboteur
from sandbox.state import write_private
from tests.detection.trials import WANTED, Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3em .8em; }
tr { border-top: 1px solid #ccc; } .good { color: #06662e; } .bad { color: #a80000; font-weight: bold; }
small { color: #555; display: block; } code { overflow-wrap: anywhere; }
"""


def found(saboteurs: Sequence[Saboteur], outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The whole finding. A saboteur counts as detected when every run of every suite that it touches detected it."""
    rows = []
    for one in saboteurs:
        runs = [outcome for outcome in outcomes if outcome.trial.saboteur == one]
        if runs:
            rows.append(
                {
                    "name": one.name,
                    "breaks": one.breaks,
                    "seen": one.seen,
                    "rule": one.rule,
                    "noticed": one.noticed.pattern,
                    "detected": all(run.verdict == "detected" for run in runs),
                    "runs": [_run(run) for run in runs],
                }
            )
    honest = [outcome for outcome in outcomes if outcome.trial.saboteur is None]
    counted = Counter(outcome.verdict for outcome in outcomes)
    return {
        "saboteurs": len(rows),
        "detected": sum(row["detected"] is True for row in rows),
        "honest_runs": len(honest),
        "false_alarms": sum(outcome.verdict != "passed" for outcome in honest),
        "runs": dict(sorted(counted.items())),
        "seconds": round(seconds, 1),
        "table": rows,
        "honest": [_run(outcome) for outcome in honest],
    }


def write(folder: Path, finding: dict[str, Any]) -> None:
    """Writes detection.json and detection.html, each whole or not at all."""
    for name, text in (
        ("detection.json", json.dumps(finding, indent=1, ensure_ascii=False)),
        ("detection.html", page(finding)),
    ):
        write_private(folder / name, text)
        (folder / name).chmod(0o644)


def page(finding: dict[str, Any]) -> str:
    head = (
        f"{finding['detected']} of {finding['saboteurs']} saboteurs detected, "
        f"{finding['false_alarms']} false alarms in {finding['honest_runs']} honest runs, {finding['seconds']} s"
    )
    rows = "".join(_row(row) for row in finding["table"])
    alarms = "".join(f"<li>{_told(run)}</li>" for run in finding["honest"] if run["verdict"] != "passed")
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Detection</title><style>{_STYLE}</style>'
        f"<h1>Detection</h1><p>{escape(head)}</p>"
        f"<table><tr><th>Saboteur<th>Rule that must notice<th>Runs</tr>{rows}</table>"
        f"<h2>False alarms</h2><ul>{alarms or '<li>none</li>'}</ul></html>"
    )


def _row(row: dict[str, Any]) -> str:
    runs = "".join(f"<li>{_told(run)}</li>" for run in row["runs"])
    color = "good" if row["detected"] else "bad"
    return (
        f'<tr><td><b class="{color}">{escape(row["name"])}</b><br>{escape(row["breaks"])}'
        f"<small>Seen: {escape(row['seen'])}</small><td>{escape(row['rule'])}"
        f"<small><code>{escape(row['noticed'])}</code></small><td><ul>{runs}</ul></tr>"
    )


def _told(run: dict[str, Any]) -> str:
    color = "good" if run["verdict"] in WANTED else "bad"
    return (
        f'{escape(run["suite"])} #{run["number"]}: <span class="{color}">{escape(run["verdict"])}</span>'
        f" ({run['seconds']} s)<small>{escape(run['message'] or '')}</small>"
    )


def _run(outcome: Outcome) -> dict[str, Any]:
    told = asdict(outcome) | {"seconds": round(outcome.seconds, 2)}
    del told["trial"]
    return {"suite": outcome.trial.suite, "number": outcome.trial.number, **told}


def summary(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(
        f"{count} {verdict}" for verdict, count in sorted(Counter(one.verdict for one in outcomes).items())
    )
