"""The machines: real sshd in bubblewrap, with a disk, an agent and a simulated GPU."""
