"""What the papers claim, and what estimators do where the truth is known."""
