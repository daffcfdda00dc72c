"""The programs of a cloud. Each composes the packages that it serves, and runs until SIGTERM."""
