"""Cases of a cohort: files, scores, strata, comparison."""
