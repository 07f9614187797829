"""The FCN filter of Gushchin et al. (arXiv 2404.06957) and ours for the same attack: networks and their weights."""
