"""The machines: real sshd in bubblewrap, with a disk, an agent and a simulated GPU."""

from sandbox.hosts.host import BootFailed, Host
from sandbox.hosts.spec import MachineSpec, Troubles

__all__ = ["BootFailed", "Host", "MachineSpec", "Troubles"]
