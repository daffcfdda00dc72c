"""The plain Python behind the keyword libraries. Imports no Robot.

* Targets and their clients: `target`, `settings`, `embedded`; `dumont`, `market`, `gcp`, `objects`, `ssh`, on `http`.
* What is put on machines: `workspace_files`, `model_file`, `data_set`, `changing`, `poison`, `ticks`, by `unpacking`.
* Evidence: `manifest` of a machine, `audit` of the bucket (`restic_repository`, `restic_witness`, `space`),
  `destruction`, `standby`, `failover`, `strategies`, `staying_lost`, `hibernating`, `cards` of the page.
* What outlives a run, in the bucket: `kept_manifests`, `kept_hibernations`.
* Machines and money: `renting`, `rented`, `budget`, `expected_cost`, `cost`, `books`.
* Nothing is left: `ledger`, `guard`, `overtime`, `labels`, `clearing`, `sweeping`.
* What people read: `report`, `tables`, `timeline`, `cycle_chart`, `growth`, `transfer`, `progress`, `wording`,
  `errors`.
* Nothing is told that is secret: `redaction`, `hiding`.
"""
