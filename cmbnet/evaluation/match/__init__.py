"""Labels, overlap, and which lesion of one side belongs to which of the other."""
