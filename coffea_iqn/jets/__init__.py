"""What a jet is: tables of jets, variables of networks, context, support, matching."""
