"""Quantization-aware training: fine-tuning in which the weights and activations are rounded as deployed.

grids      the deployments' grids in torch, bit for bit
layers     layers that compute as deployed, with straight-through gradients
deployed   which layers a strategy quantizes, and how: asked of the strategy itself
"""
