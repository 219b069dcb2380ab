"""What every front end shares: scale variables, neurons, B, criteria and reports. No torch."""
