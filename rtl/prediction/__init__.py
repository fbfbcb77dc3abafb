"""Range unit and scale unit: scales predicted from a shallow tensor."""
