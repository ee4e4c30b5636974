"""Scores and how sure they are: metrics, bootstrap over proteins, Mantel's test, variance, and the result written."""
