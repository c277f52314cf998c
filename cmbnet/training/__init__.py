"""Training: cache, sampling, augmentation, losses, fit. Heavy imports stay in the modules."""
