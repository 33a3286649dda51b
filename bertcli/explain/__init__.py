"""Which words made a decision, and what attention looked at."""
