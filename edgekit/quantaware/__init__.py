"""Quantization-aware training: fine-tuning in which weights and activations are rounded as they will be deployed.

grids        the deployments' grids in torch, bit for bit
layers       layers that compute as deployed, with straight-through gradients
deployed     which layers a strategy quantizes, and how: asked of the strategy itself
aims         what the model is held to, and how it is trained, by task
finetuning   the training: float teacher, rounded student, a folder on the grid
comparison   what rounding took, and how much of it came back
page         both as a page, with the curves
story        `edgekit qat`
"""
