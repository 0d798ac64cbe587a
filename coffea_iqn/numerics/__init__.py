"""The same bits on every processor: compiling, elementary functions, dense layers, quantile levels, exact sums."""
