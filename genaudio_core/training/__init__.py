"""How the models are trained: scores, sounds and mixtures prepared, the space of queries, the loops, and one trainer
for each model in `fit`.
"""
