"""What is read of the families of models that timm has, and what is missing of them."""
