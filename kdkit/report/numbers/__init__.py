"""What a report computes from what it reads: pairs, differences, the choice of the best."""
