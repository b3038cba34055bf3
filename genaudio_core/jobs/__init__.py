"""Many files: a job is a list of independent items, each done once, here, on other processes or on other machines.

* A `Step` does an `Item`; `run_job` does all that are not done and tells the rest (`Report`). An item is done when its
  outputs are there and its side-car (``records.py``) says that they are of these inputs, models and settings.
* Nothing is ever half there: outputs are made aside and renamed, and the side-car comes last. A run that was killed is
  gone on with by the same command.
* `each` is the pool beneath: tasks to results, a task that ends its process costs no other.
* Inputs and outputs are places (``places.py``): paths, or addresses such as ``s3://bucket/folder``.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'items': ('Item', 'Step', 'Task'),
        'job': ('Options', 'Report', 'run_job'),
        'pool': ('each',),
        'inputs': ('Found', 'find_inputs'),
    },
)
