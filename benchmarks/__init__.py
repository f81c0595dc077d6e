"""One script per claim: ours and the rival on the same input in the same run; the ratio is what counts."""
