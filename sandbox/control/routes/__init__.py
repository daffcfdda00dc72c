"""The routes of the API: formats in and out, nothing else."""
