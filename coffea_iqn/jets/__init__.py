"""What a jet is: tables of jets, variables of networks, what is known beside the four-momentum, matching."""
