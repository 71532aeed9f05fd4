"""Tables, plots and pages from plain data (dicts as in ``results.jsonl``). Nothing here imports the other rooms."""
