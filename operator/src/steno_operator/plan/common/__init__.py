"""What the planners of all kinds share: pods, conditions, phases, Events, admission, and the plan itself."""
