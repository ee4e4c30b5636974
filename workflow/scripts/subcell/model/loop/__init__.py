"""How a network is trained: steps, gradients, validation, resume, what it costs."""
