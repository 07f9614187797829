"""The FCN filter of Gushchin et al. (arXiv 2404.06957) and our residual one: networks and their weights."""
