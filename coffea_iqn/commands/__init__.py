"""The commands of coffea-iqn, one module each, and the modules that they share."""
