"""The planner of Tenants: quota reservations and usage."""
