"""Prices as server-sent events, with a chart that resumes where it was."""
