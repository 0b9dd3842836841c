"""An approval that waits for a month while the code changes twice: `python -m examples.approval_flow`.

v1.py, v2.py and v3.py are the same module at three deployments; hasty.py is what version 2 would have been without its
patch. A real repository has one file and three commits.
"""
