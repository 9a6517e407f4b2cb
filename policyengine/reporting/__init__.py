"""What people read. Shows stored results and computes none."""
