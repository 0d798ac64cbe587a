"""Members of the family: network architectures that turn quantile levels and inputs into targets.

A member is a law p(y | x) of several targets: it draws them at given levels (`sample`), defines its training `loss`,
and, if available, returns levels and log-densities (`levels`, `log_density`). Code outside this package does not depend
on the member or on the number of targets: `networks.build` creates a member from its description.

Autoregressive members draw one target after the other, each given the preceding ones: `IQNx4` and `IQNx1` of Kronheim
et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073, and `SplineIQN`, the default. The others (flows, flow matching,
adversarial networks and autoencoders) draw all targets at once; flows need the extra `members`.
"""
