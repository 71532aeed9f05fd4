"""Experiments: described exactly, trained, stored once, compared.

From a study to its table: :func:`seqmem.training.study.make_study`, :func:`seqmem.training.compare.run_study`,
:func:`seqmem.training.aggregate.aggregate`. A single training: :func:`seqmem.training.loop.train` of an
:class:`seqmem.training.experiment.Experiment`. Nothing is imported until it is asked for.
"""
