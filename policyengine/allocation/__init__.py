"""From confidence to feasible weights: sizing overlay, sleeves, shell."""
