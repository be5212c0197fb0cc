from concurrent.futures import ThreadPoolExecutor

import numpy as np

from poolvox.shared.imaging.scratch import Scratch


def test_memory_is_used_again_by_its_own_thread_only():
    scratch = Scratch()
    first = scratch.array((4, 8), "uint16")
    assert np.shares_memory(first, scratch.array((8, 2), "float32"))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(scratch.array, (4, 8), "uint16").result()
    assert not np.shares_memory(first, other)


def test_more_is_made_where_more_is_asked_for():
    scratch = Scratch()
    small, large = scratch.array((3,), "uint8"), scratch.array((2, 3, 5), ">u4")
    assert large.shape == (2, 3, 5)
    assert large.dtype == ">u4"
    assert not np.shares_memory(small, large)
    assert scratch.array((0, 7), "uint8").size == 0
