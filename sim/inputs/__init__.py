"""What comes from outside: models and weights, images, labels."""
