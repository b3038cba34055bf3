"""Networks that tell which part plays each note of a mixture: ours, and those of Dong et al. (ISMIR 2021)."""
