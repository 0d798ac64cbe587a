"""The particles in jets: where they meet a calorimeter, and what each step of their reconstruction depends on."""
