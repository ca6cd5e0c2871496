"""Rules: what settles a claim, from a study's table alone.

A rule takes a table and the margin of its dataset and gives a :class:`Finding`, or None where the
table does not reach the densities that the rule speaks of. It is written before its study is run.
"""
