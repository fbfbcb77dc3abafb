"""What is chosen about training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch
        Passes over the images, images per step.
    scale_rate
        Highest learning rate (Adam) of scales, log2 units, and of a predictor's coefficients.
    affine_rate
        Of LayerNorms, biases, the embedding and places, for a network with 4 bits; 0 leaves them.
        What is to be made up for is half as large with each bit more, and so is the rate (of
        weights and activations, the fewer bits count).
    weight_rate
        Of weights, in units of the step that they are rounded to (of a layer's columns, the
        geometric mean); 0 leaves them.
    area
        Smallest share of an image's area that a crop keeps, 1 for whole images. Crops are
        stretched to the image's size.
    colour
        By how much brightness, contrast and saturation of an image are changed at most: 1 halves
        or doubles each; 0 leaves them.
    mix
        Share of the steps that see each image under a part of another.
    streams
        What the error of the residual streams (:func:`.train.stream_error`) counts; 0 leaves it.
    seed
        Of the order and the augmentation of the images.
    """

    epochs: int = 2
    batch: int = 20
    scale_rate: float = 0.02
    affine_rate: float = 0.0
    weight_rate: float = 0.0
    area: float = 0.4
    colour: float = 0.0
    mix: float = 0.0
    streams: float = 0.0
    seed: int = 1


TRAINED = Budget(epochs=4, batch=10, scale_rate=0.005, affine_rate=3e-4, weight_rate=0.01,
                 area=0.4, colour=0.5, mix=0.25, streams=3.0)
"""Trains everything there is to train."""
