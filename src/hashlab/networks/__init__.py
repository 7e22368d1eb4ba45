"""Networks: their bodies with named levels, what they start from, and their features."""
