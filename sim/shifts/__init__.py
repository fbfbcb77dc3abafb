"""Images unlike those that a network was calibrated with: the families of ImageNet-C, and dark.

The families and their constants are those of Hendrycks and Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", ICLR 2019 (arXiv 1903.12261), as in the code
published with it (``hendrycks/robustness``, ``imagenet_c/corruptions.py``); what is done another
way is said at each. A family is a function

    family(image, severity, draw) -> image

of float64 ``(height, width, 3)``, 0 black and 1 white; what it gives may be beyond both, for it is
clipped. `severity` is 1 to 5, and all that is random comes from the generator `draw`. Lengths are
in pixels, as for 224 x 224, whatever size the image has.
"""
