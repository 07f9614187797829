"""What stands between the open internet and the service: who asks, how much, how slowly."""
