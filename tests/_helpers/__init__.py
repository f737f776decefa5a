"""What several tests make or read."""
