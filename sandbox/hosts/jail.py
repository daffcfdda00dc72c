"""The command line that turns a disk into a running machine."""

from __future__ import annotations

from pathlib import Path

from sandbox.bubblewrap import isolation, system
from sandbox.hosts.disk import Disk
from sandbox.hosts.spec import MachineSpec

_BIN = Path(__file__).resolve().parent / "bin"

# bubblewrap ties the machine to the process that starts it, but not from the first instant: were that process killed
# while bubblewrap sets up, the machine would outlive it. When this script runs, as process 1, the tie holds. So it says
# that it runs, and goes on only when that process has heard it, alive, and says so; else it reads an end of file.
# The renter's own script runs beside sshd, with the machine's environment; sshd takes the place of this shell.
_BOOT = """
tether=$1
shift
echo >&"$tether"
read -r -u "$tether" || exit 1
exec {tether}>&-
if [ -s /etc/onstart.sh ]; then
    (set -a; . /etc/environment; exec bash /etc/onstart.sh) >/root/onstart.log 2>&1 </dev/null &
fi
exec "$@"
"""


def command(bwrap: str, disk: Disk, spec: MachineSpec, info: int, tether: int) -> list[str]:
    """The bubblewrap command of a machine.

    It inherits two descriptors: `info`, to write its process ids to, and `tether`, a socket. Once the machine is tied
    to this process a byte comes from the tether, and the machine goes on when it gets a line back.
    """
    workspace = ["--bind", str(spec.volume or disk.workspace), "/workspace"]
    if spec.troubles.workspace_megabytes:
        workspace = ["--size", str(spec.troubles.workspace_megabytes * 2**20), "--tmpfs", "/workspace"]
    programs = ["--ro-bind", str(_BIN), "/opt/rekindle/bin"] if spec.gpu_tools else []
    if spec.troubles.no_restic:
        programs += ["--ro-bind", "/usr", "/opt/rekindle/usr", "--ro-bind", str(disk.bin), "/usr/bin"]
    server = ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/sshd_config"]
    if spec.troubles.ssh_refused:
        server = ["sleep", "infinity"]
    # fmt: off
    return [
        bwrap, *isolation(),
        "--hostname", spec.hostname,
        "--info-fd", str(info),
        "--ro-bind", str(disk.etc), "/etc", *system(),
        *programs,
        "--bind", str(disk.home), "/root", "--bind", str(disk.tmp), "/tmp",  # noqa: S108 - its own
        *workspace,
        "--chdir", "/root",
        "/bin/bash", "-c", _BOOT, "boot", str(tether), *server,
    ]
    # fmt: on
