"""What tests share: tiny models, trainings, and the hosts that run them."""
