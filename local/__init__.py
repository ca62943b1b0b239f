"""The local lake: the whole stack on one machine, deployed on an emulator, with samples and a demonstration.

What only this machine needs to run the lake belongs here. What writes or checks files of the repository is in `tools`,
and nothing in here ships to AWS or to analysts.
"""
