"""What the commands of coffea-iqn do, each from its arguments to files and a table."""
