"""The plain Python behind the keyword libraries: clients, waits, evidence, ledger, reports. Imports no Robot."""
