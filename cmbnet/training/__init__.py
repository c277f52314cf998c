"""Training: cache, sampling, augmentation, losses, fit. The modules import heavy packages late."""
