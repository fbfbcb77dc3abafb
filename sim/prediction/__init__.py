"""Scale predictors: how they are fitted, and what they cost."""
