"""Floor 5: the supervisor, its workers, and how they are started, replaced and ended."""
