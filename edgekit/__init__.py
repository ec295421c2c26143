"""edgekit: pack a trained model for an edge device, with every figure measured or marked as an estimate."""

__version__ = "0.1.0"
