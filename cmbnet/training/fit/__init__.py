"""Training: recipe, batches, augmentation, losses, the loop over epochs."""
