"""Every Robot variable that a user can set: meaning, type, unit, bounds and defaults, in one place.

The suites check their variables against this list before anything is rented (`variable_checks`), and
`docs/variables.md` is generated from it. A variable of the suites that is missing here fails a test. To add a variable,
add a line to `VARIABLES`, and its default to the resource that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

from rekindle.value_kinds import (
    Choice,
    Choices,
    CloudDirectory,
    CountryCodes,
    Duration,
    File,
    Folder,
    Name,
    Number,
    Switch,
)
from rekindle.variable import Target, Variable

_CLOUD, _MACHINES, _DATA, _AMOUNT = "Target and money", "Machines", "Test data", "How often"
_PAGE, _TIMES = "Web page", "Timeouts"


def _number(unit: str, low: float, high: float, *, optional: bool = False) -> Number:
    return Number(unit, low, high, optional=optional)


def _whole(unit: str, low: int, high: int) -> Number:
    return Number(unit, low, high, whole=True)


def _timeout(name: str, meaning: str, default: str, example: str = "300s") -> Variable:
    return Variable(name, _TIMES, meaning, Duration(), example, default)


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "TARGET",
        _CLOUD,
        "Cloud under test: the embedded cloud, or the real product.",
        Choice(("sandbox", "live")),
        "live",
        "sandbox",
    ),
    Variable(
        "BUDGET_USD",
        _CLOUD,
        "Most that this run may spend. Zero is legal: nothing can be rented then, as for a sweep.",
        _number("USD", 0, 10_000, optional=True),
        "3",
        30.0,
        required_on="live",
    ),
    Variable(
        "MAX_PRICE",
        _CLOUD,
        "Highest price of a machine.",
        _number("USD an hour", 0.001, 100),
        "0.5",
        1.0,
        live=0.5,
    ),
    Variable(
        "REAL",
        _CLOUD,
        "Whether phase 4 may spend money on a live target.",
        Switch(),
        "True",
        False,
    ),
    Variable(
        "DECLINED_WITNESSES",
        _CLOUD,
        "Witnesses that the user of a live target cannot provide. Empty is legal: none is declined.",
        Choices(("market", "restic", "gcp")),
        "market",
        "",
    ),
    Variable(
        "ENV_FILE",
        _CLOUD,
        "File of `NAME=value` lines for what the environment lacks; `.env` in the project if it exists.",
        File(),
        "staging.env",
    ),
    Variable(
        "STATE_DIR",
        _CLOUD,
        "Where the embedded cloud keeps its state; `.rekindle/cloud` when not set. `temporary`: a cloud for this run "
        "only. `breakable`: the same, with a network and clocks that can be broken.",
        CloudDirectory(),
        "temporary",
    ),
    Variable(
        "KEPT_RUNS",
        _CLOUD,
        "How many closed runs `OUTPUT_DIR/runs/` keeps; older ones are removed.",
        _whole("runs", 1, 100_000),
        "100",
        20,
    ),
    Variable(
        "WORKSPACE",
        _MACHINES,
        "Directory on the machine that is filled, snapshotted and compared.",
        Folder(),
        "/workspace",
        "/workspace",
    ),
    Variable(
        "DISK_GB",
        _MACHINES,
        "Disk of each rented machine.",
        _whole("GB", 10, 10_000),
        "100",
        100,
        elsewhere={"phase 4": 20, "faults": 20},
    ),
    Variable(
        "MACHINE_MINUTES",
        _MACHINES,
        "Longest life of a machine; its price for that time is reserved before it is rented.",
        _number("minutes", 0.1, 1440),
        "30",
        30,
        elsewhere={"phase 4": 60},
    ),
    Variable(
        "IDLE_SECONDS",
        _MACHINES,
        "How long a machine is idle before it is hibernated.",
        _number("seconds", 1, 3600),
        "60",
        3,
        live=60,
    ),
    Variable(
        "OTHER_GPU",
        _MACHINES,
        "GPU that the migration moves to, as the market names it.",
        Name("the name of a GPU"),
        "RTX 4090",
        "RTX 4090",
    ),
    Variable(
        "SMALL_FILES",
        _DATA,
        "Small files in each workspace. Zero is legal: text files, hidden files and odd names are created anyway.",
        _whole("files", 0, 1_000_000),
        "1000",
        1000,
        elsewhere={"faults": 50},
    ),
    Variable(
        "LARGE_FILE_BYTES",
        _DATA,
        "Size of the large file in each workspace. Zero is legal: it is empty.",
        _whole("bytes", 0, 1_000_000_000_000),
        "64000000",
        64_000_000,
        elsewhere={"faults": 4_000_000},
    ),
    Variable(
        "LARGE_FILE_MB",
        _DATA,
        "Size of the model file in `large_snapshot`, in MB of 1 048 576 bytes.",
        _number("MB", 0.001, 900_000),
        "1024",
        1024,
    ),
    Variable(
        "MANY_FILES",
        _DATA,
        "Small files in `many_files`.",
        _whole("files", 1, 10_000_000),
        "100000",
        100_000,
    ),
    Variable(
        "CROWD_FILES",
        _DATA,
        "Small files on each machine of the load suite. Zero is legal.",
        _whole("files", 0, 100_000),
        "50",
        50,
    ),
    Variable(
        "CROWD_FILE_BYTES",
        _DATA,
        "Size of the large file on each machine of the load suite. Zero is legal.",
        _whole("bytes", 0, 1_000_000_000),
        "200000",
        200_000,
    ),
    Variable("CYCLES", _AMOUNT, "Failovers in a row.", _whole("failovers", 1, 1000), "5", 5),
    Variable(
        "AFTER_FAILED_CYCLE",
        _AMOUNT,
        "Whether the cycles continue after a failover that failed.",
        Choice(("stop", "continue")),
        "continue",
        "stop",
    ),
    Variable(
        "FAILOVERS",
        _AMOUNT,
        "Machines lost at the same moment in the largest test of the load suite.",
        _whole("machines", 1, 200),
        "20",
        20,
    ),
    Variable(
        "CROWD_MINUTES",
        _AMOUNT,
        "Longest life of a machine of the load suite.",
        _number("minutes", 0.1, 1440),
        "10",
        10,
    ),
    Variable("HEADLESS", _PAGE, "Whether the browser runs without a window.", Switch(), "False", True),
    Variable(
        "BROWSER_PATH",
        _PAGE,
        "Browser program; the environment's `BROWSER_PATH`, or the system's Chromium or Chrome, when not set.",
        File(program=True),
        "/usr/bin/chromium",
    ),
    Variable("PAGE_TIMEOUT", _PAGE, "How long the page may take to show a state.", Duration(), "30s", "30s"),
    Variable(
        "GPU",
        _PAGE,
        "GPU that is chosen in the wizard, as the market names it.",
        Name("the name of a GPU"),
        "RTX 4090",
        "RTX 4090",
    ),
    Variable(
        "MIGRATION_GPU",
        _PAGE,
        "GPU that the migration dialog is asked for; nothing is migrated.",
        Name("the name of a GPU"),
        "RTX 3090",
        "RTX 3090",
    ),
    Variable(
        "REGION",
        _PAGE,
        "Region that is chosen in the wizard, as the page names it.",
        Name("the name of a region"),
        "EUA",
        "EUA",
    ),
    Variable(
        "COUNTRIES",
        _PAGE,
        "Countries that the region covers; a list variable, set in a suite or a variable file.",
        CountryCodes(),
        "US,CA",
        ("US", "CA"),
    ),
    Variable(
        "STRATEGY",
        _PAGE,
        "Strategy that is chosen in the wizard, as the page names it.",
        Name("the name of a strategy"),
        "Race — mais rápido",
        "Race — mais rápido",
    ),
    _timeout("INSTANCE_CREATE_TIMEOUT", "Answer to a create call.", "300s"),
    _timeout("INSTANCE_READY_TIMEOUT", "Boot of a machine, until it answers by SSH.", "600s"),
    _timeout("SNAPSHOT_TIMEOUT", "Snapshot.", "300s"),
    _timeout("RESTORE_TIMEOUT", "Restore, or wake.", "600s"),
    _timeout("LARGE_SNAPSHOT_TIMEOUT", "Snapshot in phase 4.", "1200s"),
    _timeout("LARGE_RESTORE_TIMEOUT", "Restore in phase 4.", "1200s"),
    _timeout("HIBERNATION_TIMEOUT", "Hibernation of an idle machine by the product.", "600s"),
    _timeout("GONE_TIMEOUT", "Destruction of a machine, until no witness lists it.", "30s", "30s"),
    _timeout("STANDBY_TIMEOUT", "First sync of a CPU standby.", "300s"),
    _timeout("SYNC_TIMEOUT", "Sync of a file that was just written.", "120s"),
    _timeout("FAILOVER_TIMEOUT", "Failover or migration.", "600s"),
    _timeout("STAYS_LOST", "Time for which a machine without failover must stay lost.", "10s", "10s"),
    _timeout("NEVER_READY", "Patience with a machine that never boots, in the faults suites.", "2s", "2s"),
    _timeout("UNHEARD", "Time for which the market lists nothing, in the faults suites.", "8s", "8s"),
)

BY_NAME: Mapping[str, Variable] = {variable.name: variable for variable in VARIABLES}
GPUS = ("GPU", "OTHER_GPU", "MIGRATION_GPU")


def defaults(target: Target) -> dict[str, object]:
    """Return the defaults that depend on the target, by name."""
    return {
        variable.name: variable.default_on(target)
        for variable in VARIABLES
        if variable.default_on("live") != variable.default_on("sandbox")
    }
