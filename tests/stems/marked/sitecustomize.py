"""In front of a program's path: what it shares by name carries its mark, so that a test knows it from others'."""

import os
from multiprocessing import process, shared_memory

MARK = '/' + os.environ['MARK_OF_BLOCKS']
process.current_process()._config['semprefix'] = MARK
shared_memory._SHM_NAME_PREFIX = MARK + '_'
