"""Ways in which a cloud can lie or break, one small file each.

They act from outside, on files, objects, processes and answers: the cloud's own code knows nothing of them.
"""
