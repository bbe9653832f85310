"""What went wrong in a training: rules that read a run and say what they found.

May import `actrace.analysis` without its charts, and `actrace.store`.
"""
