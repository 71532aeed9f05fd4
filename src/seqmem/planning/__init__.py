"""What a model costs before it is built: parameters, arithmetic, state, activations, optimiser, and time."""
