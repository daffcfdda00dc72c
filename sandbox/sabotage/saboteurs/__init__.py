"""The saboteurs that come along. Each file is one; what it must say of itself is told in docs/sabotage.md."""
