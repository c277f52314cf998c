"""Labels, overlap, and the matching of true and predicted lesions."""
