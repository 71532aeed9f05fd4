"""One model trained on token shards, by one process or by many: ``seqmem train``.

settings: the file that is written for it. processes: what accelerate makes of the processes. learner: the model with
its loss. run: the steps. saving: the checkpoints. command: what is printed.
"""
