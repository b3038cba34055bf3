"""What music and sound are: scores, events, spectra, queries, and the engines that run exported models.

The modules at this level never import torch. ``models``, ``training`` and ``analysis`` below it do.
"""

__version__ = '0.1.0'
