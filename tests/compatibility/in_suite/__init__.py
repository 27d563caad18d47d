"""
What runs in the processes of another package's suite. It is copied into the suite's
environment, so it imports nothing of this project but the reactors.
"""
