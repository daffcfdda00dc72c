"""What several keyword libraries share, and Robot Framework has to do with; no keywords."""
