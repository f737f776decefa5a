"""Arrays in, numbers out: how well predictions agree with measurements, and what counting noise leaves to reach."""
