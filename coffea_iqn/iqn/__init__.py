"""p(y | x) of several targets by implicit quantile networks, whatever x and y are: this package knows no jets."""
