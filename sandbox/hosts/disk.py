"""The disk of a machine: one directory of the host, kept while the machine is stopped, removed when it is destroyed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sandbox import trees
from sandbox.bubblewrap import SEARCH_PATH
from sandbox.endings import in_words
from sandbox.hosts.spec import MachineSpec

# Key exchange and cipher are the fastest that OpenSSH and paramiko share: a login costs 100 ms less.
_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
VersionAddendum {banner}
HostKey /etc/hostkey
PidFile none
AuthorizedKeysFile /etc/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions 200
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
Ciphers aes128-gcm@openssh.com,aes128-ctr
Subsystem sftp internal-sftp
SetEnv {environment}
"""


class Disk:
    """Names and writes the files of one machine. What the machine sees as /etc is written anew at each boot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        self.workspace = root / "workspace"
        self.home = root / "root"
        self.tmp = root / "tmp"
        self.bin = root / "bin"
        self.console = root / "console.log"
        self.processes = root / "processes.json"

    def prepare(self, spec: MachineSpec, port: int, banner: str) -> None:
        """Makes what is missing and writes what a boot needs, but for the host key."""
        for folder in (self.root, self.etc, self.workspace, self.home, self.tmp, self.bin):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.etc.chmod(0o755)
        self.tmp.chmod(0o1777)
        for mount_point in ("ssl", "alternatives"):
            (self.etc / mount_point).mkdir(exist_ok=True)
        (self.etc / "ld.so.cache").touch()
        user, group = os.getuid(), os.getgid()
        environment = {
            "PATH": SEARCH_PATH,
            "LANG": "C.UTF-8",
            "CONTAINER_ID": str(spec.id),
            "GPU_NAME": spec.gpu_name,
            **spec.environment,
        }
        files = {
            "passwd": f"root:x:{user}:{group}:root:/root:/bin/bash\n"
            + ("sshd:x:74:74:sshd:/run/sshd:/usr/sbin/nologin\n" if user == 0 else ""),
            "group": f"root:x:{group}:\n" + ("sshd:x:74:\n" if user == 0 else ""),
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            "hostname": f"{spec.hostname}\n",
            "hosts": f"127.0.0.1 localhost {spec.hostname}\n",
            "gpu": f"{spec.num_gpus}|{spec.gpu_memory_mb}|{spec.gpu_name}\n",
            "environment": "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items()),
            "onstart.sh": spec.onstart,
            "sshd_config": _SSHD_CONFIG.format(
                port=port,
                banner=banner,
                environment=" ".join(f"{name}={_sshd_quoted(value)}" for name, value in environment.items()),
            ),
        }
        for name, text in files.items():
            (self.etc / name).write_text(text)
        self.authorize(spec.authorized_keys)
        if spec.troubles.no_restic:
            self._fill_bin_without("restic")

    def make_host_key(self) -> None:
        """Makes the key by which a machine is known all its life.

        Raises:
            OSError: it cannot be made; the message is what ssh-keygen says.
        """
        key = self.etc / "hostkey"
        if not key.exists():
            made = subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if made.returncode:
                key.unlink(missing_ok=True)  # a part of it would be taken for the key at the next boot
                raise OSError(
                    f"ssh-keygen did not make the key {key}: {made.stderr.strip() or in_words(made.returncode)}"
                )

    def authorize(self, keys: Iterable[str]) -> None:
        """Lets in the holders of these public keys, from the next login on."""
        fresh = self.etc / ".authorized_keys"
        fresh.write_text("".join(f"{key}\n" for key in keys))
        fresh.replace(self.etc / "authorized_keys")

    def gpu_utilisation(self) -> float:
        """The percentage that the workload wrote down; 0 when there is none.

        The file belongs to the renter: it is opened so that no link, pipe or endless file can lead the market astray.
        """
        try:
            handle = os.open(self.tmp / "gpu-utilisation", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return 0.0
        try:
            return min(max(float(os.read(handle, 16)), 0.0), 100.0)
        except (OSError, ValueError):
            return 0.0
        finally:
            os.close(handle)

    def init_process(self) -> int | None:
        """The host's process id of the machine's first process; None when bubblewrap has not come so far."""
        try:
            return int(json.loads(self.processes.read_text())["child-pid"])
        except (OSError, ValueError, KeyError):
            return None

    def wipe(self) -> None:
        """Removes the disk, whatever modes the renter gave to directories."""
        trees.remove(self.root)

    def _fill_bin_without(self, hidden: str) -> None:
        """Fills `bin`, which such a machine sees as /usr/bin, with links to all programs of the host but one."""
        for program in Path("/usr/bin").iterdir():
            link = self.bin / program.name
            if program.name != hidden and not link.is_symlink():
                link.symlink_to(f"/opt/rekindle/usr/bin/{program.name}")


def _sshd_quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
