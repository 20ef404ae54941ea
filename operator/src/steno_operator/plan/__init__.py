"""From what is observed to what is to be done: pure, time is an argument, every decision of the operator."""
