"""Speed, memory and start-up cost of the library's recurrences beside others', measured in one process on this machine.

``cases`` says what is measured, ``measure`` how; ``seqmem bench`` runs it.
"""
