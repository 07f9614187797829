"""What a defense is worth, as numbers: the measures of arXiv 2404.06957 and of arXiv 2408.01541, and their intervals.

Functions, tensors or numbers in and numbers out; they know no attack, no defense and no metric. Only learned distances
need weights, which are never downloaded.
"""
