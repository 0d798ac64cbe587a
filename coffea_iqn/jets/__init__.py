"""Jets: tables of jets, network variables, conditioning variables, kinematic bounds, gen-reco matching."""
