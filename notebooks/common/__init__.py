"""What the notebooks share: settings, data, the larger models, the table of evidence.

A notebook imports it as ``common``: Jupyter finds it beside the notebook, the tests and
``python -m notebooks.build`` put this folder on the path. What a notebook teaches stands
in the notebook itself.
"""
